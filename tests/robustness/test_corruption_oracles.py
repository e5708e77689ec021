"""Each corruption against a slow reference written from its definition, in fp64, with the same draws.

With BAGOFTRICKS_GOLDEN=<folder> (and BAGOFTRICKS_FROST=<folder of the six pictures>) the slow tests compare with stored
outputs of the original program as well: <kind>_inputs.npy, <kind>_<corruption>.npz and replay_draws.py; with
BAGOFTRICKS_PHOTOS=<folder of JPEGs> they compare our draws with the original's on these photographs too.
"""

import colorsys
import os
import sys
from io import BytesIO
from math import ceil, cos, radians, sin
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import ks_2samp, wilcoxon

from bagoftricks.data.transforms import fit
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions import (
    CORRUPTIONS,
    CorruptionOptions,
    Frost,
    blur,
    corrupt,
    digital,
    glass,
    noise,
    weather,
)
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.motion import _add_gathered, _add_slices, _add_small
from bagoftricks.robustness.corruptions.table import CORRUPTION_TABLE, draw_nothing
from tests.pictures import decode_path

SIDE = 32


@pytest.fixture(scope="module")
def images():
    """Four smooth images with edges, flat areas of black and white, and noise."""
    draws = np.random.Generator(np.random.Philox(key=1))
    smooth = ndimage.gaussian_filter(draws.normal(size=(4, 3, SIDE, SIDE)), (0, 0, 3, 3))
    values = 128 + 500 * smooth + draws.normal(size=smooth.shape) * 5
    values[:, :, 20:26, 4:12], values[:, :, 4:9, 18:30] = 0, 255
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.uint8))


def stream(name):
    return Stream(Key(0).fold(name), range(4), torch.device("cpu"))


def near(result, reference, mean=0.05, most=2):
    """Within two levels everywhere, and a twentieth of a level on average."""
    gap = np.abs(result.numpy().astype(int) - np.uint8(np.clip(reference, 0, 255)).astype(int))
    return gap.max() <= most and gap.mean() <= mean


def gaussian(values, sigma):
    return ndimage.gaussian_filter(values, (0, 0, sigma, sigma), mode="nearest", truncate=4)


@pytest.mark.parametrize("row", CORRUPTION_TABLE["glass_blur"].imagenet + CORRUPTION_TABLE["glass_blur"].cifar[1:4])
def test_glass_blur_visits_one_pixel_after_the_other(images, row):
    moves = glass.draw_moves(stream("glass"), images, row)
    values = np.uint8(gaussian(images.numpy().astype(float), row.sigma) + 1e-9)
    delta = row.max_delta
    for image, downs, rights in zip(values, moves.down.numpy(), moves.right.numpy(), strict=True):
        for turn in range(row.iterations):
            for h in range(SIDE - delta, delta, -1):
                for w in range(SIDE - delta, delta, -1):
                    down, right = downs[turn, h - delta - 1, w - delta - 1], rights[turn, h - delta - 1, w - delta - 1]
                    image[:, h, w] = image[:, h + down, w + right]  # a copy, not a swap
    assert near(glass.glass_blur(images, moves, row), gaussian(values.astype(float), row.sigma) + 1e-9)
    assert moves.down.min() == -delta
    assert moves.down.max() == delta - 1


@pytest.mark.parametrize("angle", [-45.0, -130.0, 0.0, 20.0, 44.0])
def test_motion_blur_is_one_sided_along_whole_offsets(images, angle):
    row = CORRUPTION_TABLE["motion_blur"].cifar[4]
    taps = np.exp(-(np.arange(2 * row.radius + 1) ** 2) / (2 * row.sigma**2))
    expected = np.zeros(images.shape)
    for tap, weight in enumerate(taps / taps.sum()):
        y, x = ceil(tap * sin(radians(angle)) - 0.5), ceil(tap * cos(radians(angle)) - 0.5)
        rows, columns = (np.clip(np.arange(SIDE) + offset, 0, SIDE - 1) for offset in (y, x))
        expected += weight * images.numpy()[:, :, rows[:, None], columns]
    assert near(blur.motion_blur(images, np.full(4, angle), row), expected + 1 / 514)


def test_the_ways_to_add_up_taps_agree():
    values = torch.rand(2, 3, 5, 6, generator=Key(0).generator())
    padded = torch.nn.functional.pad(values, (1, 2, 2, 1), mode="replicate")
    where = [[[2, 1], [0, 3]], [[3, 0], [1, 2]]]
    by_slices = _add_slices(padded, values, where, [0.7, 0.3])
    assert torch.equal(by_slices, _add_gathered(padded, values, where, [0.7, 0.3]))
    assert torch.allclose(by_slices, _add_small(padded, values, where, [0.7, 0.3]), atol=1e-7)


@pytest.mark.parametrize("kind", ["imagenet", "cifar"])
def test_zoom_blur_is_the_mean_of_scipys_zooms(images, kind):
    for row, factors in zip(
        CORRUPTION_TABLE["zoom_blur"].rows(kind),
        (12, 16, 11, 13, 11) if kind == "imagenet" else (7, 12, 16, 21, 26),
        strict=True,
    ):
        zooms = np.arange(1, row.stop, row.step)
        assert len(zooms) == factors
        total = images.numpy().astype(float)
        for factor in zooms:
            crop = ceil(SIDE / factor)
            top = (SIDE - crop) // 2
            inner = images.numpy()[:, :, top : top + crop, top : top + crop].astype(float)
            grown = ndimage.zoom(inner, (1, 1, factor, factor), order=1)
            trim = (grown.shape[2] - SIDE) // 2
            total = total + grown[:, :, trim : trim + SIDE, trim : trim + SIDE]
        assert near(blur.zoom_blur(images, None, row), total / (factors + 1) + 1e-9)


@pytest.mark.parametrize("row", CORRUPTION_TABLE["defocus_blur"].imagenet + CORRUPTION_TABLE["defocus_blur"].cifar[2:])
def test_defocus_is_a_softened_disk_with_mirrored_borders(images, row):
    around, alias = (8, 1) if row.radius <= 8 else (10, 2)
    y, x = np.mgrid[-around : around + 1, -around : around + 1]
    disk = (x**2 + y**2 <= row.radius**2).astype(float)
    soft = np.exp(-(np.arange(-alias, alias + 1) ** 2) / (2 * row.alias_blur**2))
    kernel = ndimage.correlate(disk / disk.sum(), np.outer(soft, soft) / soft.sum() ** 2, mode="mirror")
    expected = ndimage.correlate(images.numpy().astype(float), kernel[None, None], mode="mirror")
    result = blur.defocus_blur(images, None, row)
    gap = np.abs(result.numpy() + 0.5 - expected)
    assert gap.max() < 0.51  # the cut value lies below the exact one by less than a level, up to fp32


@pytest.mark.parametrize("kind", ["imagenet", "cifar"])
def test_fog_is_diamond_square_on_a_torus_normalised_before_the_cut(images, kind):
    row = CORRUPTION_TABLE["fog"].rows(kind)[2]
    levels = weather.draw_fog(stream("fog"), images, row)
    side, wibble = row.side, 100.0
    grid, step = np.zeros((4, side, side)), row.side
    for level in levels:
        half, (squares, across, down) = step // 2, level.numpy().astype(float).swapaxes(0, 1) * wibble**2
        for n in range(4):
            g = grid[n]
            for i in range(side // step):
                for j in range(side // step):
                    y, x = i * step, j * step
                    corners = [g[y, x], g[(y + step) % side, x], g[y, (x + step) % side]]
                    corners.append(g[(y + step) % side, (x + step) % side])
                    g[y + half, x + half] = sum(corners) / 4 + squares[n, i, j]
            for i in range(side // step):
                for j in range(side // step):
                    y, x = i * step, j * step
                    middle = g[y + half, x + half]
                    over, left = g[(y - half) % side, x + half], g[y + half, (x - half) % side]
                    g[y, x + half] = (middle + over + g[y, x] + g[y, (x + step) % side]) / 4 + across[n, i, j]
                    g[y + half, x] = (middle + left + g[y, x] + g[(y + step) % side, x]) / 4 + down[n, i, j]
        step, wibble = half, wibble / row.decay
    low, high = grid.min((1, 2), keepdims=True), grid.max((1, 2), keepdims=True)
    plasma = ((grid - low) / (high - low))[:, None, :SIDE, :SIDE]
    values = images.numpy() / 255
    top = values.max((1, 2, 3), keepdims=True)
    expected = np.clip((values + row.strength * plasma) * top / (top + row.strength), 0, 1) * 255
    assert near(weather.fog(images, levels, row), expected)


def test_brightness_raises_hsvs_value(images):
    row = weather.Lift(0.3)
    raised = weather.brightness(images, None, row)[0].flatten(1).T.numpy()
    for pixel, result in zip(images[0].flatten(1).T.tolist(), raised, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1))
        assert np.abs(np.array(expected) * 255 - result - 0.5).max() < 0.51


def test_contrast_keeps_each_channels_mean_in_fp64():
    image = torch.tensor([[0, 100], [200, 100]], dtype=torch.uint8).expand(1, 3, 2, 2).clone()
    image[0, 1] = 64
    result = digital.contrast(image, None, digital.FactorRow(0.4))
    assert result[0, 0].tolist() == [[60, 100], [140, 100]]
    assert result[0, 1].unique().item() in (63, 64)  # a constant may lose one: the sum is taken in fp64, then cut


def test_the_elastic_displacement_is_scipys(images):
    row = digital.Elastic(12.2, 2.44, 0.0)  # three points that stay: no affine map
    bend = digital.draw_bend(stream("elastic"), images, row)
    assert (bend.shifts == 0).all()
    dx, dy = (
        row.alpha
        * np.stack(
            [ndimage.gaussian_filter(f.reshape(SIDE, SIDE), row.sigma, mode="reflect", truncate=3) for f in fields.T]
        )
        for fields in bend.fields.double().permute(2, 0, 1).numpy()
    )
    y, x = np.mgrid[:SIDE, :SIDE]
    expected = np.array(
        [
            [ndimage.map_coordinates(c.astype(float), (y + dy[n], x + dx[n]), order=1, mode="reflect") for c in image]
            for n, image in enumerate(images.numpy())
        ]
    )
    assert near(digital.elastic_transform(images, bend, row), expected + 1e-6)


def test_the_affine_map_takes_three_points_to_their_shifted_places():
    shifts = np.array([[[3.0, -2.0], [1.0, 4.0], [-2.0, 2.5]]])
    theta = digital._theta(shifts, 31, 31)[0]
    points = np.array([[25.0, 25.0], [25.0, 5.0], [5.0, 5.0]])  # of a square of 2 * 31 // 3 about (15, 15)
    unit = np.concatenate([(points + shifts[0]) / 15 - 1, np.ones((3, 1))], 1)
    np.testing.assert_allclose((unit @ theta.T + 1) * 15, points, atol=1e-4)


@pytest.mark.parametrize("scale", [0.95, 0.6, 0.5, 0.25])
def test_pixelate_is_pils_box(images, scale):
    small = int(SIDE * scale)
    for image, result in zip(images, digital.pixelate(images, None, digital.Scale(scale)), strict=True):
        photograph = Image.fromarray(image.permute(1, 2, 0).numpy())
        boxed = photograph.resize((small, small), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BOX)
        assert (np.asarray(boxed) == result.permute(1, 2, 0).numpy()).all()


def test_jpeg_is_pils_at_half_the_chroma(images):
    for image, result in zip(images, digital.jpeg_compression(images, None, digital.Quality(25)), strict=True):
        file = BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=25, subsampling="4:2:0")
        assert (np.asarray(Image.open(file)) == result.permute(1, 2, 0).numpy()).all()


def test_snow_falls_twice_and_whitens(images):
    row = weather.Snow(0.1, 0.2, 1, 0.6, 0, 3, 0.9)  # no zoom, and a single tap: no blur
    layer = torch.zeros(4, SIDE, SIDE)
    layer[:, 3, 5], layer[:, 4, 4] = 0.7, 0.5
    result = weather.snow(images, weather.Flakes(layer, np.full(4, -90.0)), row).numpy()
    values = images.numpy().astype(float)
    grey = (values * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    expected = 0.9 * values + 0.1 * np.maximum(values, 1.5 * grey + 127.5)
    for y, x in ((3, 5), (SIDE - 4, SIDE - 6)):  # the flake below the threshold is gone, the other is there twice
        expected[:, :, y, x] += 178
    assert near(torch.from_numpy(result), expected)


def injected(kind, name, severity, arrays, row, replay, frost):
    """Return the reference's own draws in our form."""
    drawn = [replay.draws(kind, name, severity, index, array) for index, array in enumerate(arrays)]

    def stack(get):
        return torch.from_numpy(np.stack([get(draw) for draw in drawn]))

    def planes(get):
        return stack(get).permute(0, 3, 1, 2).contiguous()

    if name == "gaussian_noise":
        return planes(lambda d: d["noise"]).float()
    if name == "shot_noise":
        return planes(lambda d: noise.shot_levels(d["counts"], d["c"]))
    if name == "impulse_noise":
        return noise.Hits(planes(lambda d: d["hit"] & d["salt"]), planes(lambda d: d["hit"] & ~d["salt"]))
    if name == "glass_blur":  # stored in the order of visits, from the last pixel to the first
        return glass.Moves(*(stack(lambda d, k=k: d[k][:, ::-1, ::-1].astype(np.int32)) for k in ("dy", "dx")))
    if name == "motion_blur":
        return stack(lambda d: d["angle"]).numpy()
    if name == "snow":
        return weather.Flakes(stack(lambda d: d["crop"]).float(), stack(lambda d: d["angle"]).numpy())
    if name == "frost":
        pictures, side = frost._at(row.scale, torch.device("cpu")), arrays.shape[1]
        return torch.stack(
            [pictures[d["file"] - 1][:, d["row"] : d["row"] + side, d["col"] : d["col"] + side] for d in drawn]
        )
    if name == "fog":
        levels = [stack(lambda d, n=n: np.stack(d["levels"][n])) for n in range(len(drawn[0]["levels"]))]
        return [(level / (100.0 / row.decay**n) ** 2).float() for n, level in enumerate(levels)]
    if name == "elastic_transform":
        fields = stack(lambda d: np.stack([d["ux"].reshape(-1), d["uy"].reshape(-1)], -1)).transpose(0, 1)
        return digital.Bend(stack(lambda d: d["pts_jitter"]).double().numpy(), fields.float())
    return None


golden = pytest.mark.skipif("BAGOFTRICKS_GOLDEN" not in os.environ, reason="needs the original program's outputs")
RANDOM = [name for name in CORRUPTIONS if CORRUPTION_TABLE[name].draw is not draw_nothing]


@pytest.fixture
def replay(monkeypatch):
    """Return the numbers that the original program draws."""
    monkeypatch.syspath_prepend(os.environ["BAGOFTRICKS_GOLDEN"])
    import replay_draws

    yield replay_draws
    sys.modules.pop("replay_draws", None)


def original_frost(name):
    if name != "frost":
        return None
    if "BAGOFTRICKS_FROST" not in os.environ:
        pytest.skip("needs the original pictures of frost")
    return Frost.from_folder(os.environ["BAGOFTRICKS_FROST"])


def as_bytes(arrays):
    return torch.from_numpy(np.ascontiguousarray(arrays)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.slow
@golden
@pytest.mark.parametrize("kind", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_original_programs_outputs(name, kind, replay):
    folder, frost = os.environ["BAGOFTRICKS_GOLDEN"], original_frost(name)
    arrays = np.load(f"{folder}/{kind}_inputs.npy")
    bytes_ = as_bytes(arrays)
    files = [f"{kind}_{name}", f"{kind}_{name}_opencv4"] if name == "elastic_transform" else [f"{kind}_{name}"]
    exact = name in ("shot_noise", "impulse_noise", "contrast", "pixelate", "jpeg_compression")
    for severity in (1, 3, 5):
        row = CORRUPTION_TABLE[name].rows(kind)[severity - 1]
        result = CORRUPTION_TABLE[name].apply(bytes_, injected(kind, name, severity, arrays, row, replay, frost), row)
        gaps = [
            np.abs(result.permute(0, 2, 3, 1).numpy().astype(int) - np.load(f"{folder}/{file}.npz")[f"s{severity}"])
            for file in files
        ]
        gap = min(gaps, key=np.mean)
        assert gap.max() <= (0 if exact else 2)
        assert gap.mean() <= (0 if exact else 0.05)


def statistics(images, clean):
    """Mean, variance and distance to the clean image of each image."""
    values, before = images.double().flatten(1), clean.double().flatten(1)
    return values.mean(1).numpy(), values.var(1).numpy(), (values - before).abs().mean(1).numpy()


def both(kind, name, severity, arrays, replay, first=0):
    """Return the statistics of images corrupted with our draws (image numbers from ``first`` on) and the original's."""
    row, frost, clean = CORRUPTION_TABLE[name].rows(kind)[severity - 1], original_frost(name), as_bytes(arrays)
    numbers = range(first, first + len(arrays))
    ours = corrupt(clean, name, severity, numbers, CorruptionOptions(kind, frost=frost))
    theirs = CORRUPTION_TABLE[name].apply(clean, injected(kind, name, severity, arrays, row, replay, frost), row)
    return zip(statistics(ours, clean), statistics(theirs, clean), strict=True)


@pytest.mark.slow
@golden
@pytest.mark.parametrize("kind", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", RANDOM)
def test_our_draws_are_distributed_as_the_original_programs(name, kind, replay):
    """Over many draws for each of the golden images; 500 comparisons in all."""
    count = 100 if kind == "cifar" else 4 if name == "glass_blur" else 40
    for image, array in enumerate(np.load(f"{os.environ['BAGOFTRICKS_GOLDEN']}/{kind}_inputs.npy")[:3]):
        for severity in (1, 3, 5):
            arrays = np.repeat(array[None], count, 0)
            for ours, theirs in both(kind, name, severity, arrays, replay, first=1000 * image):
                assert ks_2samp(ours, theirs).pvalue > 1e-5


@pytest.mark.slow
@golden
@pytest.mark.skipif("BAGOFTRICKS_PHOTOS" not in os.environ, reason="needs photographs")
@pytest.mark.parametrize("name", RANDOM)
def test_our_draws_change_photographs_as_the_original_programs_do(name, replay):
    """Each photograph once with either's draws: the differences have no sign."""
    paths = sorted(Path(os.environ["BAGOFTRICKS_PHOTOS"]).rglob("*.[jJ]*"))[: 12 if name == "glass_blur" else 48]
    arrays = np.stack([fit(decode_path(path), 224, 256).permute(1, 2, 0).numpy() for path in paths])
    for severity in (1, 3, 5):
        for ours, theirs in both("imagenet", name, severity, arrays, replay):
            assert wilcoxon(ours, theirs).pvalue > 1e-4
