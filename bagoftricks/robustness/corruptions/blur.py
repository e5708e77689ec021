"""Defocus, motion, zoom and Gaussian blur."""

from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bagoftricks.robustness.corruptions import pixels
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.motion import drag
from bagoftricks.robustness.corruptions.noise import Sigma
from bagoftricks.robustness.corruptions.pixels import HAIR, ByteImages, from_columns, to_columns

CUT_AT_16_BITS = 1 / 514  # ImageMagick rounds to 16 bits and cuts to 8: half a step of 1/257


class Defocus(NamedTuple):
    """Constants of defocus blur."""

    radius: float  # of the disk, in pixels
    alias_blur: float  # standard deviation of the blur of the disk itself


class Motion(NamedTuple):
    """Constants of motion blur."""

    radius: int  # 2 * radius + 1 taps, all to one side
    sigma: float


class Zoom(NamedTuple):
    """Constants of zoom blur: factors from 1, as NumPy's arange counts them."""

    stop: float
    step: float


def defocus_blur(images: ByteImages, draws: None, row: Defocus) -> ByteImages:
    """Blur with a disk of softened rim; mirror borders without the edge pixel."""
    height, width = images.shape[-2:]
    disk, hair = _disk(row, images.device)
    around = disk.shape[-1] // 2
    padded = to_columns(images).index_select(0, _mirror(height, width, around, images.device))
    columns = padded.shape[1]
    spare = -columns % 8  # whole vectors: each column is then computed alike, whatever the batch
    padded = F.pad(padded, (0, spare)) if spare else padded
    columns, down, across = columns + spare, height + 2 * around, width + 2 * around
    # The strides of a channels_last image of many channels, which views of a batch of one do not keep.
    image = padded.as_strided((1, columns, down, across), (padded.numel(), 1, across * columns, columns))
    blurred = F.conv2d(image, disk.expand(columns, 1, -1, -1), groups=columns)
    rows = blurred[0].permute(1, 2, 0).reshape(height * width, columns)[:, : columns - spare]
    return from_columns(rows.add_(hair), images)


def defocus_side(row: Defocus) -> int:
    """Return the smallest side: the mirrored border must lie inside the image."""
    return _disk(row, torch.device("cpu"))[0].shape[-1] // 2 + 1


@lru_cache(maxsize=16)
def _disk(row: Defocus, device: torch.device) -> tuple[Float[Tensor, "1 1 side side"], float]:
    around, alias = (8, 3) if row.radius <= 8 else (int(row.radius), 5)
    offsets = np.arange(-around, around + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= row.radius**2).astype(np.float32)
    soft = pixels.smooth_kernel_1d(alias, row.alias_blur).astype(np.float32)
    side = np.arange(-(alias // 2), len(disk) + alias // 2)
    kernel = (disk / disk.sum())[np.ix_(*[pixels.mirrored(side, len(disk))] * 2)]
    for _ in range(2):  # down, then across
        kernel = sum(weight * kernel[i : i + len(disk)] for i, weight in enumerate(soft)).T
    kernel[kernel < 1e-12] = 0  # denormals would make the convolution three times slower
    # The definition's fp32 weights miss one by a rounding, which decides the values of flat areas.
    missing = kernel.sum(dtype=np.float64) - 1
    rim = int(np.abs(offsets[kernel.any(0)]).max())
    kernel = kernel[around - rim : around + rim + 1, around - rim : around + rim + 1]
    return torch.from_numpy(kernel.copy())[None, None].to(device), float(np.copysign(HAIR, missing))


@lru_cache(maxsize=32)
def _mirror(height: int, width: int, around: int, device: torch.device) -> Tensor:
    rows = pixels.mirrored(np.arange(-around, height + around), height)
    columns = pixels.mirrored(np.arange(-around, width + around), width)
    return torch.from_numpy((rows[:, None] * width + columns).reshape(-1).astype(np.int32)).to(device)


def draw_angles(stream: Stream, images: ByteImages, row: Motion) -> npt.NDArray[np.float64]:
    """Draw degrees in [-45, 45), shape (n,)."""
    return stream.scalars(0)[:, 0] * 90 - 45


def motion_blur(images: ByteImages, angles: npt.NDArray[np.float64], row: Motion) -> ByteImages:
    """Blur as ImageMagick does: half a Gaussian along a line of whole offsets, border pixels repeated."""
    return pixels.truncate(drag(images.float(), angles, row.radius, row.sigma).add_(CUT_AT_16_BITS))


def zoom_blur(images: ByteImages, draws: None, row: Zoom) -> ByteImages:
    """Average the image and its zooms by each factor, from 1 on."""
    height, width = images.shape[-2:]
    return from_columns(_zooms(height, width, row, images.device).apply(to_columns(images)).add_(HAIR), images)


def zoom_side(row: Zoom) -> int:
    """Return the smallest side: the innermost crop must keep two pixels to interpolate between."""
    return 2


@lru_cache(maxsize=10)
def _zooms(height: int, width: int, row: Zoom, device: torch.device) -> pixels.Taps:
    factors = np.arange(1, row.stop, row.step)
    sources, weights = [np.arange(height * width)[:, None]], [np.full((height * width, 1), 2 / (len(factors) + 1))]
    for factor in factors[1:]:  # the first factor is 1: the image itself
        (up, down), (left, right) = zoomed(height, factor), zoomed(width, factor)
        for rows, by_row in (up, down):
            for columns, by_column in (left, right):
                sources.append((rows[:, None] * width + columns).reshape(-1, 1))
                weights.append((by_row[:, None] * by_column).reshape(-1, 1) / (len(factors) + 1))
    return pixels.taps(np.concatenate(sources, 1), np.concatenate(weights, 1), device)


Tap = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def zoomed(size: int, factor: float) -> tuple[Tap, Tap]:
    """Return both neighbours and their weights for each coordinate of a side, zoomed about the middle and cut to size.

    The crop's first and last pixels fall on those of the zoomed side (SciPy's zoom), which is then trimmed.
    """
    crop = ceil(size / factor)
    grown = round(crop * factor)
    places = (np.arange(size) + (grown - size) // 2) * ((crop - 1) / max(1, grown - 1))
    first: npt.NDArray[np.int64] = np.minimum(places.astype(np.int64), max(0, crop - 2))
    share = (places - first).astype(np.float64)
    start = (size - crop) // 2
    return (first + start, 1 - share), (np.minimum(first + 1, crop - 1) + start, share)


def gaussian_blur(images: ByteImages, draws: None, row: Sigma) -> ByteImages:
    """Blur with scikit-image's Gaussian."""
    height, width = images.shape[-2:]
    return from_columns(pixels.blur_columns(to_columns(images), height, width, row.sigma), images)
