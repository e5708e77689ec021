"""Sequences of frames: facts that are computed by hand, PIL's own warps, and draws that know nothing of the batch."""

import numpy as np
import pytest
import scipy.ndimage
import torch
import torchvision.transforms.functional as tv
from PIL import Image
from torchvision.transforms import InterpolationMode

from bagoftricks.errors import UserError
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.perturbations import PERTURBATIONS, compared_with_first, frame_count, frames
from bagoftricks.robustness.perturbations.warps import tilt_matrix


def pictures(count=7, height=40, width=44):
    """Random colours, so that every pixel that is moved shows."""
    made = np.random.Generator(np.random.Philox(key=1)).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(made)


def sequence(images, name, side=32, **how):
    return torch.stack(list(frames(images, name, range(100, 100 + len(images)), side=side, **how)))


def array(picture):
    return picture.permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_an_image_depends_on_its_index_and_not_on_its_batch(name):
    images = pictures()
    whole = sequence(images, name)
    assert (whole.shape, whole.dtype) == ((frame_count(name), 7, 3, 32, 32), torch.uint8)
    single = [torch.stack(list(frames(images[i : i + 1], name, [100 + i], side=32))) for i in range(7)]
    assert torch.equal(torch.cat(single, 1), whole)


@pytest.mark.parametrize("constants", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_sequences_have_the_published_length(name, constants):
    published = {("translate", "imagenet"): 41, ("translate", "cifar"): 16, ("motion_blur", "cifar"): 21}
    assert len(sequence(pictures(1), name, constants=constants)) == published.get((name, constants), 31)
    assert frame_count(name, constants) == published.get((name, constants), 31)


def by_definition(layer, angle, *, height, zoom, radius, sigma):
    """The flakes of ImageNet-P's snow from their layer of noise, in 8 bits: zoomed, cut, smeared pixel by pixel."""
    crop = len(layer)
    zoomed = scipy.ndimage.zoom(layer, zoom, order=1)
    start = (len(zoomed) - height) // 2
    flakes = zoomed[start : start + height, start : start + height]
    flakes = np.floor(np.clip(np.where(flakes < 0.5, 0, flakes), 0, 1) * 255)
    assert crop == -(-height // zoom)
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    fallen = np.zeros_like(flakes)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        y, x = (int(np.ceil(step * f(np.radians(angle)) - 0.5)) for f in (np.sin, np.cos))
        rows, columns = (np.clip(np.arange(height) + move, 0, height - 1) for move in (y, x))
        fallen += weight * flakes[np.ix_(rows, columns)]
    return fallen


@pytest.mark.parametrize(("constants", "zoom", "radius", "sigma"), [("imagenet", 3, 14, 4), ("cifar", 2, 10, 2)])
def test_snow_is_one_layer_that_falls_in_a_direction_that_turns(constants, zoom, radius, sigma):
    images = pictures(1, 32, 32)
    made = sequence(images, "snow", constants=constants)
    key = Key(0).fold("perturbation", "snow").fold(0)
    crop = -(-32 // zoom)
    layer = Stream(key, [100], images.device).normal(0, crop, crop)[0].numpy() * 0.3 + 0.05
    values = images[0].numpy().astype(float) / 255
    grey = (values * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    white = 0.85 * values + 0.15 * np.maximum(values, grey * 1.5 + 0.5)
    for frame in (0, 1, 15, 30):
        fallen = by_definition(layer, frame * 4 - 150, height=32, zoom=zoom, radius=radius, sigma=sigma) / 255
        expected = np.floor(np.clip(white + fallen + fallen[::-1, ::-1], 0, 1) * 255)
        assert np.abs(made[frame, 0].numpy() - expected).max() <= 2
    assert not torch.equal(made[0], made[1])


def test_translation_moves_whole_pixels_into_view_and_then_black():
    images = pictures(2)  # the middle begins at row 4 and column 6
    moved = sequence(images, "translate")
    assert torch.equal(moved[20], images[..., 4:36, 6:38])
    assert torch.equal(moved[14], images[..., 4:36, 12:44])  # six to the left: the margin comes in
    assert torch.equal(moved[26], images[..., 4:36, 0:32])
    assert torch.equal(moved[36][..., 10:], images[..., 4:36, 0:22])
    assert (moved[36][..., :10] == 0).all()
    small = sequence(images, "translate", constants="cifar")
    assert torch.equal(small[7], images[..., 4:36, 6:38])
    assert torch.equal(
        small[0],
        images[..., 4:36, 13:44].new_zeros(2, 3, 32, 32).index_copy_(3, torch.arange(31), images[..., 4:36, 13:44]),
    )


@pytest.mark.parametrize("constants", ["imagenet", "cifar"])
def test_rotation_and_scale_are_those_of_pil_as_torchvision_called_it(constants):
    images = pictures(1)
    image = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    first, step = {"imagenet": (0.40, 0.025), "cifar": (0.70, 0.02)}[constants]
    for name, how in (
        ("rotate", lambda frame: {"angle": frame - 15, "scale": 1.0}),
        ("scale", lambda frame: {"angle": 0, "scale": first + step * frame}),
    ):
        for frame, found in enumerate(sequence(images, name, constants=constants)):
            warped = tv.affine(
                image,
                translate=[0, 0],
                shear=[0.0],
                interpolation=InterpolationMode.BILINEAR,
                center=[22.5, 20.5],
                **how(frame),
            )
            expected = np.array(tv.center_crop(warped, [32, 32])).astype(int)
            assert np.abs(array(found[0]) - expected).max() <= 1, (name, frame)


def test_no_turn_and_no_scale_leave_the_image():
    images = pictures(2)
    assert torch.equal(sequence(images, "rotate")[15], images[..., 4:36, 6:38])
    assert torch.equal(sequence(images, "scale")[24], images[..., 4:36, 6:38])
    assert (sequence(images, "scale")[0][..., 0, 0] == 0).all()  # 0.4 of the side: black around it


def test_tilt_is_a_rotation_in_space_seen_in_perspective():
    """Each pixel looked up by itself: the source of (x, y) is where the inverse matrix has it."""
    images = pictures(1, 20, 24)
    found = sequence(images, "tilt", side=16)
    for frame in (0, 15, 30):
        inverse = np.linalg.inv(tilt_matrix(20, 24, frame - 15))
        expected = np.zeros((16, 16, 3))
        for row in range(16):
            for column in range(16):
                u, v, w = inverse @ [column + 4, row + 2, 1]
                expected[row, column] = looked_up(array(images[0]), u / w, v / w)
        assert np.abs(array(found[frame, 0]) - np.rint(expected)).max() <= 1


def looked_up(image, x, y):
    total = np.zeros(3)
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_the_matrix_of_tilt_by_hand():
    """A 30 x 40 image has a diagonal of 50: untilted it is seen 50 / 51 as large; tilted, one corner comes nearer."""
    x, y, w = tilt_matrix(30, 40, 0) @ [40, 30, 1]
    assert (x / w, y / w) == pytest.approx((20 + 20 * 50 / 51, 15 + 15 * 50 / 51))
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    space = (20 * c - s, 15 * c - s * (20 * s + c), 15 * s + c * (20 * s + c))  # about y, then about x
    x, y, w = tilt_matrix(30, 40, 10) @ [40, 30, 1]
    assert (x / w, y / w) == pytest.approx((20 + 50 * space[0] / (space[2] + 50), 15 + 50 * space[1] / (space[2] + 50)))


def test_zoom_blur_is_the_mean_of_the_zooms_so_far():
    images = pictures(1)
    image = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    total = np.array(tv.center_crop(image, [32, 32])).astype(int)
    for frame, found in enumerate(sequence(images, "zoom_blur")):
        if frame:
            how = {"interpolation": InterpolationMode.BILINEAR, "center": [22.5, 20.5], "shear": [0.0]}
            zoomed = tv.affine(image, angle=0, translate=[0, 0], scale=1 + 0.004 * frame, **how)
            total = total + np.array(tv.center_crop(zoomed, [32, 32]))
        assert np.abs(array(found[0]) - total // (frame + 1)).max() <= 1
    flat = torch.full((1, 3, 40, 40), 101, dtype=torch.uint8)
    assert (sequence(flat, "zoom_blur") == 101).all()


def test_brightness_rises_and_passes_the_image():
    images = pictures(2)
    found = sequence(images, "brightness").int()
    assert torch.equal(found[15], images[..., 4:36, 6:38].int())
    assert (found.amax(2).diff(dim=0) >= 0).all()
    grey = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    values = sequence(grey, "brightness", side=4)[:, 0, 0, 0, 0].tolist()
    assert (values[0], values[14], values[16], values[30]) == (23, 94, 105, 176)  # 100 - 76.5, -+ 5.1, + 76.5, cut
    small = sequence(grey, "brightness", side=4, constants="cifar")[:, 0, 0, 0, 0].tolist()
    assert (small[0], small[30]) == (42, 157)  # 15 x 0.015 x 255 = 57.375


def test_motion_blur_drags_a_flat_image_nowhere_and_a_point_along_its_angle():
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert (sequence(flat, "motion_blur", side=16) == 77).all()
    point = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    point[..., 16, 16] = 255
    blurred = sequence(point, "motion_blur", side=33)[:, 0, 0]
    # The last frame lies at 0 degrees, frame 8 at -88: each of 21 taps of weight exp(-i^2 / 18) takes what lies ahead.
    weights = np.exp(-(np.arange(21) ** 2) / 18)
    expected = 255 * weights / weights.sum()
    assert blurred[30, 16, 16 - np.arange(10)].tolist() == [int(w) for w in expected[:10]]
    assert blurred[30].nonzero()[:, 0].unique().tolist() == [16]
    assert blurred[8, 16 + np.arange(10), 16].tolist() == [int(w) for w in expected[:10]]


@pytest.mark.parametrize(("constants", "sigma", "photons"), [("imagenet", 0.03, 300), ("cifar", 0.02, 700)])
def test_noise_starts_from_the_image_and_has_the_published_strength(constants, sigma, photons):
    grey = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    for name, deviation in (("gaussian_noise", 255 * sigma), ("shot_noise", 255 * (128 / 255 / photons) ** 0.5)):
        found = sequence(grey, name, constants=constants)
        assert torch.equal(found[0], grey)
        changes = found[1:].double() - 127.5  # values are cut: half a level less on average
        assert changes.std().item() == pytest.approx(deviation, rel=0.01)
        assert changes.mean().item() == pytest.approx(0, abs=0.1)


def test_draws_have_the_names_of_seed_perturbation_frame_and_image():
    grey = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    found = sequence(grey, "gaussian_noise")
    assert torch.equal(found, sequence(grey, "gaussian_noise"))
    different = [
        (found[1], found[2]),
        (found[1, 0], found[1, 1]),
        (found[1], sequence(grey, "gaussian_noise", seed=1)[1]),
    ]
    assert not any(torch.equal(a, b) for a, b in different)


def test_frames_are_compared_as_the_definition_does():
    assert [name for name in PERTURBATIONS if compared_with_first(name)] == ["gaussian_noise", "shot_noise"]


def test_bad_input_is_told_in_one_line():
    images = pictures(1)
    with pytest.raises(UserError, match="no perturbation 'tilted'; did you mean 'tilt'"):
        frames(images, "tilted", [0])
    with pytest.raises(UserError, match="no constants 'cifar10'; did you mean 'cifar'"):
        frames(images, "tilt", [0], constants="cifar10")
    with pytest.raises(UserError, match="frames of 41 x 41 pixels need images as large, and these have 40 x 44"):
        frames(images, "tilt", [0], side=41)
    with pytest.raises(ValueError, match="1 images need as many indices, not 2"):
        frames(images, "tilt", [0, 1])
