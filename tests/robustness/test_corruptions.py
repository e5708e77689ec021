import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp

from bagoftricks.errors import UserError
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions import (
    CORRUPTIONS,
    EXTRA,
    CorruptionOptions,
    Frost,
    corrupt,
    resave_as_jpeg,
    smallest_side,
)
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.edges import distance_to
from bagoftricks.robustness.corruptions.extra import Saturation, saturate
from bagoftricks.robustness.corruptions.frost import FILES
from bagoftricks.robustness.corruptions.noise import Amount, Hits, Sigma, gaussian_noise, impulse_noise, shot_levels
from bagoftricks.robustness.corruptions.table import CORRUPTION_TABLE
from bagoftricks.robustness.scoring import SEVERITIES


def photographs(count=8, side=32):
    """Smooth coloured patterns over all grey levels."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [(x * (c + 1) + y * (i + 2)) * 255 // (3 * side) % 256 for i in range(count) for c in range(3)]
    return torch.stack(waves).view(count, 3, side, side).to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTION_TABLE)
def test_an_image_depends_on_its_index_and_not_on_its_batch(name):
    images, indices = photographs(64), list(range(100, 164))
    whole = corrupt(images, name, 3, indices, CorruptionOptions(constants="cifar"))
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    permuted = corrupt(images[order], name, 3, [indices[i] for i in order], CorruptionOptions(constants="cifar"))
    assert torch.equal(permuted, whole[order])
    for size in (1, 7):
        parts = [
            corrupt(images[s : s + size], name, 3, indices[s : s + size], CorruptionOptions(constants="cifar"))
            for s in range(0, 64, size)
        ]
        assert torch.equal(torch.cat(parts), whole)


LARGE = pytest.param(224, 15, "imagenet", marks=pytest.mark.long)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "count", "constants"), [(32, 64, "cifar"), LARGE])
@pytest.mark.parametrize("name", CORRUPTION_TABLE)
def test_batches_of_any_size_give_the_same_bits(name, side, count, constants):
    """At every severity, as the protocols corrupt and save them."""
    images = photographs(count, side)
    for severity in SEVERITIES:
        whole = corrupt(images, name, severity, range(count), CorruptionOptions(constants=constants))
        for size in (1, 7):
            made = [
                corrupt(
                    images[s : s + size],
                    name,
                    severity,
                    range(s, min(count, s + size)),
                    CorruptionOptions(constants=constants),
                )
                for s in range(0, count, size)
            ]
            assert torch.equal(torch.cat(made), whole)
            if severity == 5:
                saved = torch.cat([resave_as_jpeg(part, 85) for part in made])
                assert torch.equal(saved, resave_as_jpeg(whole, 85))


def test_noise_by_hand():
    grey = torch.full((1, 3, 1, 2), 100, dtype=torch.uint8)
    noise = torch.tensor([0.1, -0.5]).expand(1, 3, 1, 2)
    assert gaussian_noise(grey, noise, Sigma(0.1))[0, 0, 0].tolist() == [125, 0]  # 125.5 is cut, not rounded
    yes, no = torch.tensor([True, False]).expand(1, 3, 1, 2), torch.tensor([False, True]).expand(1, 3, 1, 2)
    assert impulse_noise(grey, Hits(yes, no), Amount(0.5))[0, 0, 0].tolist() == [255, 0]
    assert shot_levels(np.array([0, 30, 60, 61]), 60).tolist() == [0, 127, 255, 255]


def test_bad_input_is_told_in_one_line():
    images = photographs(1)
    with pytest.raises(UserError, match="no corruption 'gauss_noise'; did you mean 'gaussian_noise'"):
        corrupt(images, "gauss_noise", 1, [0])
    with pytest.raises(UserError, match="from 1 to 5, not 6"):
        corrupt(images, "shot_noise", 6, [0])
    with pytest.raises(UserError, match="no constants 'imagenett'; did you mean 'imagenet'"):
        corrupt(images, "shot_noise", 1, [0], CorruptionOptions(constants="imagenett"))


def test_severities_and_constants_are_the_published_ones():
    assert [row.sigma for row in CORRUPTION_TABLE["gaussian_noise"].imagenet] == [0.08, 0.12, 0.18, 0.26, 0.38]
    assert [row.photons for row in CORRUPTION_TABLE["shot_noise"].cifar] == [500, 250, 100, 75, 50]
    assert CORRUPTION_TABLE["glass_blur"].imagenet[4] == (1.5, 4, 2)
    assert CORRUPTION_TABLE["elastic_transform"].imagenet[0] == (488, 170.8, 24.4)
    assert [row.quality for row in CORRUPTION_TABLE["jpeg_compression"].imagenet] == [25, 18, 15, 10, 7]
    assert [row.quality for row in CORRUPTION_TABLE["jpeg_compression"].cifar] == [80, 65, 58, 50, 40]
    assert CORRUPTION_TABLE["saturate"].cifar[4] == (2.5, 0.2)
    assert set(CORRUPTION_TABLE) == {*CORRUPTIONS, *EXTRA}


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise", "impulse_noise"])
def test_own_draws_follow_the_distribution(name):
    grey = torch.full((4, 3, 64, 64), 120, dtype=torch.uint8)
    row = CORRUPTION_TABLE[name].imagenet[0]
    result = corrupt(grey, name, 1, range(4)).double().flatten()
    draws, count = np.random.Generator(np.random.Philox(key=2)), result.numel()
    x = 120 / 255
    other = {
        "gaussian_noise": lambda: x + draws.normal(0, row[0], count),
        "speckle_noise": lambda: x + x * draws.normal(0, row[0], count),
        "shot_noise": lambda: draws.poisson(x * row[0], count) / row[0],
        "impulse_noise": lambda: np.where(draws.random(count) < row[0], draws.integers(0, 2, count), x + 1e-9),
    }[name]()
    expected = np.uint8(np.clip(other, 0, 1) * 255).astype(float)
    assert ks_2samp(result.numpy(), expected).pvalue > 1e-3
    assert result.std().item() == pytest.approx(expected.std(), rel=0.02)


def test_streams_of_images_severities_and_lanes_differ():
    grey = torch.full((2, 3, 16, 16), 120, dtype=torch.uint8)
    first = corrupt(grey, "gaussian_noise", 1, [0, 1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupt(grey, "gaussian_noise", 1, [0, 1], CorruptionOptions(seed=1)))
    words = Stream(Key(0), [0, 1], torch.device("cpu")).words(0, 4096).double()
    assert abs(torch.corrcoef(words)[0, 1]) < 0.06
    assert abs(torch.corrcoef(torch.stack([words[0, 1:], words[0, :-1]]))[0, 1]) < 0.06


def test_saturation_keeps_hue_and_value():
    pixel = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    assert saturate(pixel, None, Saturation(0.5, 0)).flatten().tolist() == [200, 150, 125]


def test_distances_end_at_twenty_pixels():
    edges = torch.zeros(1, 40, 40, dtype=torch.bool)
    edges[0, 5, 5] = True
    distances = distance_to(edges, 20)[0]
    assert distances[5, 5] == 0
    assert distances[8, 9] == 5
    assert distances[5, 25] == distances[39, 39] == 20


def test_frost_is_said_to_be_generated_or_original(tmp_path):
    assert Frost.made_up().describe() == "generated"
    (tmp_path / "frost1.png").touch()
    with pytest.raises(UserError, match=r"lacks frost2\.png, frost3\.png, frost4\.jpg, frost5\.jpg, frost6\.jpg"):
        Frost.from_folder(tmp_path)
    for name in FILES:
        Image.new("RGB", (40, 36), (10, 20, 30)).save(tmp_path / name)
    original = Frost.from_folder(tmp_path)
    assert original.describe() == "original"
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert corrupt(black, "frost", 2, [0], CorruptionOptions(frost=original))[0, :, 0, 0].tolist()[0] in (5, 6)
    with pytest.raises(UserError, match="cover images below 36 x 40"):
        corrupt(torch.zeros(1, 3, 36, 36, dtype=torch.uint8), "frost", 2, [0], CorruptionOptions(frost=original))


def test_images_too_small_are_told_with_the_smallest_size():
    tiny = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert smallest_side("glass_blur") == 9
    with pytest.raises(UserError, match=r"glass_blur at severity 5 needs images of at least 9 x 9.*CIFAR constants"):
        corrupt(tiny, "glass_blur", 5, [0])


def test_the_stored_form_is_jpeg_85():
    noise = corrupt(photographs(1, 64), "gaussian_noise", 5, [0])
    assert torch.equal(resave_as_jpeg(noise), resave_as_jpeg(noise, 85))
    assert (resave_as_jpeg(noise).float() - noise.float()).abs().mean() > 10
