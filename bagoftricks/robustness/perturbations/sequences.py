"""Perturbations whose sequences are made from single images: bytes in, frame by frame out.

Semantics and constants are those of ``ImageNet-P/create_p/make_imagenet_p.py`` and ``make_cifar_p.py`` in
github.com/hendrycks/robustness (revisions e0377d4 and 3d6c46d), of difficulty 1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions.blur import Motion, motion_blur
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.noise import Photons, Sigma, draw_normal, draw_shot, gaussian_noise
from bagoftricks.robustness.corruptions.pixels import ByteImages, to_columns
from bagoftricks.robustness.corruptions.weather import Flakes, Lift, Snow, brightness, draw_flakes, snow
from bagoftricks.robustness.perturbations.warps import Frame, middle, tilted, translated, turned_and_scaled
from bagoftricks.store.robustness import CONSTANTS

ZOOM_STEP = 0.004  # step of zoom blur's factors
SNOW_FROM, SNOW_STEP = -150, 4  # degrees: the fall turns from frame to frame


class Constants(NamedTuple):
    """Constants of ImageNet-P, made for 224 pixels, or of CIFAR-10-P, made for 32."""

    sigma: float  # of Gaussian noise, of intensities in [0, 1]
    photons: float  # of shot noise, at full intensity
    motion: Motion
    motion_step: int  # degrees; the last frame is dragged to the right
    motion_frames: int
    snow: Snow
    brightness_step: float  # of HSV's value; frame 15 is the image
    shifts: range  # pixels to the right
    tilt_step: float  # degrees; frame 15 is not tilted
    scale_from: float
    scale_step: float


SEQUENCE_TABLE = {
    "imagenet": Constants(
        0.03, 300, Motion(10, 3), 4, 31, Snow(0.05, 0.3, 3, 0.5, 14, 4, 0.85), 0.02, range(-20, 21), 1.0, 0.40, 0.025
    ),
    "cifar": Constants(
        0.02, 700, Motion(6, 1.8), 9, 21, Snow(0.05, 0.3, 2, 0.5, 10, 2, 0.85), 0.015, range(-7, 9), 0.75, 0.70, 0.02
    ),
}
FRAMES = 31


class Scene(NamedTuple):
    """Images of a sequence, and their draws."""

    images: ByteImages  # whole images: warps move pixels into view from outside the middle
    side: int  # side of a frame
    key: Key
    indices: Sequence[int]
    row: Constants

    @property
    def view(self) -> Frame:
        """Return the middle of the images."""
        return middle(self.images, self.side)

    def stream(self, frame: int) -> Stream:
        return Stream(self.key.fold(frame), self.indices, self.images.device)


def _gaussian_noise(scene: Scene) -> Iterator[Frame]:
    """Yield the image, then 30 times the image with other noise."""
    row, view = Sigma(scene.row.sigma), scene.view
    yield view
    for frame in range(1, FRAMES):
        yield gaussian_noise(view, draw_normal(scene.stream(frame), view, row), row)


def _shot_noise(scene: Scene) -> Iterator[Frame]:
    """Yield the image, then 30 times other counts of photons."""
    row, view = Photons(scene.row.photons), scene.view
    yield view
    for frame in range(1, FRAMES):
        yield draw_shot(scene.stream(frame), view, row)


def _motion_blur(scene: Scene) -> Iterator[Frame]:
    """Yield the image blurred at another angle in each frame."""
    row, view = scene.row, scene.view
    for frame in range(row.motion_frames):
        degrees = float((frame - row.motion_frames + 1) * row.motion_step)
        yield motion_blur(view, np.full(len(view), degrees), row.motion)


def _zoom_blur(scene: Scene) -> Iterator[Frame]:
    """Yield the mean of the image and all zooms so far, each cut to bytes."""
    columns, view = to_columns(scene.images), scene.view
    yield view
    total = view.int()
    for frame in range(1, FRAMES):
        total += turned_and_scaled(columns, scene.images, scene.side, 0, 1 + ZOOM_STEP * frame)
        yield total.div(frame + 1, rounding_mode="floor").to(torch.uint8)


def _snow(scene: Scene) -> Iterator[Frame]:
    """Yield the image under one layer of flakes, which fall in another direction in each frame."""
    row, view = scene.row.snow, scene.view
    layer = draw_flakes(scene.stream(0), view, row).layer
    for frame in range(FRAMES):
        yield snow(view, Flakes(layer, np.full(len(view), float(SNOW_FROM + SNOW_STEP * frame))), row)


def _brightness(scene: Scene) -> Iterator[Frame]:
    """Yield frames from darker to brighter."""
    view = scene.view
    for frame in range(FRAMES):
        yield brightness(view, None, Lift((frame - FRAMES // 2) * scene.row.brightness_step))


def _translate(scene: Scene) -> Iterator[Frame]:
    """Yield frames moved from left to right, a pixel at a time."""
    for shift in scene.row.shifts:
        yield translated(scene.images, scene.side, shift)


def _rotate(scene: Scene) -> Iterator[Frame]:
    """Yield frames turned clockwise, a degree at a time."""
    columns = to_columns(scene.images)
    for frame in range(FRAMES):
        yield turned_and_scaled(columns, scene.images, scene.side, frame - FRAMES // 2, 1)


def _tilt(scene: Scene) -> Iterator[Frame]:
    """Yield frames tilted about both axes at once."""
    columns = to_columns(scene.images)
    for frame in range(FRAMES):
        yield tilted(columns, scene.images, scene.side, (frame - FRAMES // 2) * scene.row.tilt_step)


def _scale(scene: Scene) -> Iterator[Frame]:
    """Yield frames from smaller to larger."""
    columns, row = to_columns(scene.images), scene.row
    for frame in range(FRAMES):
        yield turned_and_scaled(columns, scene.images, scene.side, 0, row.scale_from + row.scale_step * frame)


_MAKERS: dict[str, Callable[[Scene], Iterator[Frame]]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "brightness": _brightness,
    "translate": _translate,
    "rotate": _rotate,
    "tilt": _tilt,
    "scale": _scale,
}
PERTURBATIONS = tuple(_MAKERS)


def frames(
    images: UInt8[Tensor, "B 3 H W"],
    name: str,
    indices: Sequence[int] | Tensor,
    *,
    side: int | None = None,
    constants: str = "imagenet",
    seed: int = 0,
) -> Iterator[UInt8[Tensor, "B 3 side side"]]:
    """Yield the frames of the perturbation ``name`` on the images' device.

    Frames show the middle of the images and have the side ``side``, by default the images' shorter side. ImageNet-P
    cuts 224 pixels out of images whose shorter side has 256, so the warps move outer pixels into view.
    ``indices`` are the images' numbers in their data set, on a host. Draws depend on (seed, name, frame, index) alone.
    Later frames do not overwrite a frame. ``constants`` are ``imagenet`` or ``cifar``.

    Raises UserError for an unknown name or set of constants, and for images smaller than the frames.
    """
    _known(name, constants)
    if len(indices) != len(images):
        raise ValueError(f"{len(images)} images need as many indices, not {len(indices)}")
    shortest = min(images.shape[-2:])
    if not 0 < (side or shortest) <= shortest:
        height, width = images.shape[-2:]
        raise UserError(f"frames of {side} x {side} pixels need images as large, and these have {height} x {width}")
    numbers = [int(index) for index in indices]
    key = Key(seed).fold("perturbation", name)
    return _MAKERS[name](Scene(images.contiguous(), side or shortest, key, numbers, SEQUENCE_TABLE[constants]))


def frame_count(name: str, constants: str = "imagenet") -> int:
    """Return the number of frames of a sequence; raise UserError for an unknown name or set of constants."""
    _known(name, constants)
    row = SEQUENCE_TABLE[constants]
    return {"motion_blur": row.motion_frames, "translate": len(row.shifts)}.get(name, FRAMES)


def smallest_frame(constants: str) -> int:
    """Return the shortest side, in pixels, of frames that no sequence moves out of view."""
    return abs(SEQUENCE_TABLE[constants].shifts.start) + 1


def compared_with_first(name: str) -> bool:
    """Return True if predictions are compared with the first frame's, not with those of the frame before.

    ``flip_prob`` in ``ImageNet-P/test.py`` does so for noise, whose frames have no order.
    """
    return name.endswith("noise")


def _known(name: str, constants: str) -> None:
    if name not in _MAKERS:
        near = did_you_mean(name, _MAKERS)
        raise UserError(f"there is no perturbation '{name}'{near}; there are {', '.join(PERTURBATIONS)}")
    if constants not in CONSTANTS:
        near = did_you_mean(constants, CONSTANTS)
        raise UserError(f"perturbations have no constants '{constants}'{near}; there are {' and '.join(CONSTANTS)}")
