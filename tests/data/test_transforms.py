import colorsys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as tv

from bagoftricks.data import transforms as t
from bagoftricks.rng import Key

KEY = Key(0)
FORMATS = [torch.contiguous_format, torch.channels_last]


def uniform(n, draws):
    return torch.from_numpy(KEY.fold("test").uniform(np.arange(n), draws)).float()


def noise(height, width, seed=0):
    return torch.randint(0, 256, (3, height, width), generator=Key(seed).generator(), dtype=torch.uint8)


def test_validation_resizes_the_short_side_to_256_and_cuts_the_centre_224():
    image = noise(500, 375)
    expected = tv.center_crop(tv.resize(image, [341, 256], antialias=True), [224, 224])
    assert torch.equal(t.validation_crop(image, 224), expected)


@pytest.mark.parametrize("dim", [1, 2])
def test_of_a_strip_too_long_to_be_resized_the_middle_is_seen(dim):
    strip = torch.zeros(3, 1_000_001, dtype=torch.uint8)
    strip[:, 500_000] = 255
    seen = t.validation_crop(strip.unsqueeze(dim), 224)
    assert seen.shape == (3, 224, 224)
    assert seen.float().mean() == pytest.approx(255 * (1 - 112 / 256 / 2), abs=1)  # it falls to 0 within 256


def test_an_image_of_the_final_size_is_left_alone():
    image = noise(32, 32)
    assert t.fit(image, 32, 32) is image


def test_area_crops_keep_within_area_shape_and_image():
    height, width = 300, 400
    for draws in uniform(2000, t.AREA_DRAWS):
        top, left, h, w = t.area_crop_box(draws.tolist(), height, width, (0.08, 1.0))
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w
        assert 0.078 <= h * w / (height * width) <= 1
        assert 0.74 <= w / h <= 1.35


def test_area_crops_are_uniform_in_area_where_they_cannot_be_refused():
    # Boxes of at most a quarter of a square image always fit, so their area is uniform in [0.1, 0.25].
    shares = [
        h * w / 400**2
        for *_, h, w in (
            t.area_crop_box(draws, 400, 400, (0.1, 0.25)) for draws in uniform(4000, t.AREA_DRAWS).tolist()
        )
    ]
    assert np.mean(shares) == pytest.approx(0.175, abs=0.003)
    assert np.std(shares) == pytest.approx(0.15 / np.sqrt(12), abs=0.002)


def test_an_image_that_no_box_fits_is_cut_in_the_centre():
    assert t.area_crop_box([0.999] * 40, 10, 1000, (1.0, 1.0)) == (0, 493, 10, 13)


def test_pad_crop_moves_the_image_and_fills_with_zeros():
    image = torch.full((1, 3, 4, 4), 9, dtype=torch.uint8)
    corner = t.pad_crop(image, 2, torch.zeros(1, 2))  # the window's top left is the padding's
    assert corner[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 9, 9], [0, 0, 9, 9]]
    centre = t.pad_crop(image, 2, torch.full((1, 2), 0.5))
    assert torch.equal(centre, image)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_reflected_padding_is_that_of_numpy(memory_format):
    images = torch.stack([noise(7, 9, seed) for seed in range(4)]).contiguous(memory_format=memory_format)
    draws = uniform(4, 2)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    tops, lefts = (draws * 7).long().unbind(1)
    cut = t.pad_crop(images, 3, draws, reflect=True)
    for i, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        assert np.array_equal(cut[i], padded[i, :, top : top + 7, left : left + 9])


def test_pad_crop_reaches_every_offset_equally_often():
    image = torch.zeros(1, 3, 3, 3, dtype=torch.uint8)
    image[..., 1, 1] = 1
    draws = uniform(9000, 2)
    moved = t.pad_crop(image.expand(9000, -1, -1, -1), 1, draws)[:, 0].flatten(1).float()
    assert moved.sum(0).div(9000).sub(1 / 9).abs().max() < 0.012


@pytest.mark.parametrize("memory_format", FORMATS)
def test_pad_crop_cuts_what_slicing_the_padded_image_cuts(memory_format):
    images = torch.stack([noise(7, 9, seed) for seed in range(300)]).contiguous(memory_format=memory_format)
    draws = uniform(300, 2)
    cut = t.pad_crop(images, 3, draws)
    assert cut.is_contiguous(memory_format=memory_format)
    for image, one, (top, left) in zip(images, cut, (draws * 7).int().tolist(), strict=True):
        assert torch.equal(one, F.pad(image, (3,) * 4)[:, top : top + 7, left : left + 9])


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_flip_draw_below_one_half_mirrors_the_image(memory_format):
    images = noise(2, 3)[None].repeat(2, 1, 1, 1).contiguous(memory_format=memory_format)
    flipped = t.mirror(images, torch.tensor([[0.49], [0.5]]))
    assert flipped.is_contiguous(memory_format=memory_format)
    assert torch.equal(flipped[0], images[0].flip(-1))
    assert torch.equal(flipped[1], images[1])


@pytest.mark.parametrize("memory_format", FORMATS)
def test_picked_images_keep_their_memory_format(memory_format):
    images, rows = torch.stack([noise(4, 5, seed) for seed in range(6)]), torch.tensor([5, 0, 5])
    images = images.contiguous(memory_format=memory_format)
    assert torch.equal(t.pick(images, rows), images[rows])
    assert t.pick(images, rows).is_contiguous(memory_format=memory_format)


def test_hsv_agrees_with_the_standard_library():
    image = noise(8, 8)[None].float() / 255
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in image[0].flatten(1).T.tolist()]
    torch.testing.assert_close(t.rgb_to_hsv(image)[0].flatten(1).T, torch.tensor(expected), rtol=0, atol=1e-5)
    torch.testing.assert_close(t.hsv_to_rgb(t.rgb_to_hsv(image)), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("jitter", "draws"), [(t.jitter_hsv, 3), (t.jitter_bcs, 6)])
def test_jitter_of_factor_one_is_the_identity(jitter, draws):
    image = noise(16, 16)[None]
    assert torch.equal(jitter(image, torch.full((1, draws), 0.5), 0.4), image)
    assert torch.equal(jitter(image, torch.rand(1, draws, generator=Key(1).generator()), 0.0), image)


@pytest.mark.parametrize(("jitter", "draws"), [(t.jitter_hsv, 3), (t.jitter_bcs, 6)])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_jitter_of_a_batch_is_that_of_each_image_alone(jitter, draws, memory_format):
    # Odd sizes end in the middle of the processor's vectors; 4,000 images are shared among threads where there are any.
    images, numbers = torch.stack([noise(5, 7, seed) for seed in range(4000)]), uniform(4000, draws)
    together = jitter(images.contiguous(memory_format=memory_format), numbers, 0.4)
    for row in range(0, 4000, 40):
        assert torch.equal(together[row], jitter(images[row, None], numbers[row, None], 0.4)[0])


def test_hsv_jitter_scales_each_of_the_three():
    colours = torch.tensor(
        [
            [100, 100, 100],
            [200, 100, 100],  # saturation 1/2 -> 0.3
            [0, 200, 0],  # hue 1/3 -> 0.2, 12 degrees past yellow
        ],
        dtype=torch.uint8,
    )
    draws = torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    jittered = t.jitter_hsv(colours.view(3, 3, 1, 1), draws, 0.4)
    assert jittered.flatten(1).tolist() == [[140, 140, 140], [200, 140, 140], [160, 200, 0]]


def test_bcs_jitter_applies_torchvisions_adjustments_in_the_drawn_order():
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)
    images, draws = torch.stack([noise(16, 16, seed) for seed in range(60)]), uniform(60, 6)
    assert len({tuple(order) for order in draws[:, 3:].argsort(1).tolist()}) == 6
    expected = images.clone()
    for row, numbers in enumerate(draws):
        for which in numbers[3:].argsort().tolist():
            expected[row] = adjust[which](expected[row], (1 + 0.4 * (2 * numbers[which] - 1)).item())
    off = (t.jitter_bcs(images, draws, 0.4).int() - expected.int()).abs()
    assert off.max() <= 1
    assert off.float().mean() < 1e-4  # torchvision rounds a sum once or twice, as the processor has it


def test_pca_noise_has_the_published_spread():
    # std of the red shift: 0.1 sqrt((55.46 x 0.5675)^2 + (4.794 x 0.7192)^2 + (1.148 x 0.4009)^2) = 3.17
    shift = t.pca_noise(uniform(20000, 3), 0.1)
    assert shift[:, 0].std().item() == pytest.approx(3.17, abs=0.06)
    assert shift.mean(0).abs().max() < 0.1
