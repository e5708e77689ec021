"""Contrast, elastic transform, pixelate and JPEG compression."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from bagoftricks.robustness.corruptions import pixels
from bagoftricks.robustness.corruptions.draws import HALF_WORD_LEVELS, Stream
from bagoftricks.robustness.corruptions.jpeg import resave_as_jpeg
from bagoftricks.robustness.corruptions.pixels import ByteImages, Columns, truncate

WIDE = 64  # taps to a side above which a smoothing is cheaper as products of thin matrices
NEGLIGIBLE = 1e-4  # singular values of a smoothing, relative to the largest


class FactorRow(NamedTuple):
    """Constants of contrast."""

    factor: float


def contrast(images: ByteImages, draws: None, row: FactorRow) -> ByteImages:
    """Compute (x - mean) c + mean with each channel's own mean, by a table for each channel in fp64."""
    count, channels, height, width = images.shape
    grey = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    sums = images.flatten(2).sum(2, dtype=torch.int64)
    means = (sums.double() / 255 / (height * width)).view(-1, 1)
    tables = ((grey - means) * row.factor + means).clamp_(0, 1).mul_(255).to(torch.uint8)
    starts = torch.arange(0, len(tables) * 256, 256, dtype=torch.int32, device=images.device)
    which = images + starts.view(count, channels, 1, 1)
    return torch.index_select(tables.view(-1), 0, which.view(-1)).view(images.shape)


class Elastic(NamedTuple):
    """Constants of the elastic transform, in pixels."""

    alpha: float  # factor of the smoothed field
    sigma: float  # standard deviation of the smoothing
    affine: float  # largest shift of three points


class Bend(NamedTuple):
    """Shifts (x, y) of three points and two fields of displacements in (-1, 1), with the batch innermost."""

    shifts: npt.NDArray[np.float64]  # (n, 3, 2)
    fields: Float[Tensor, "pixels n 2"]  # x, y


def draw_bend(stream: Stream, images: ByteImages, row: Elastic) -> Bend:
    """Draw shifts uniform in [-affine, affine) and fields uniform in (-1, 1)."""
    shifts = (stream.scalars(0, 6) * 2 - 1).reshape(-1, 3, 2) * row.affine
    words = pixels.turned(stream.words(1, images.shape[-2] * images.shape[-1]))
    fields = words.view(torch.int16).float().add_(0.5).mul_(2 / HALF_WORD_LEVELS).view(len(words), -1, 2)
    return Bend(shifts, fields)


def elastic_transform(images: ByteImages, bend: Bend, row: Elastic) -> ByteImages:
    """Apply an affine map of three points (borders mirrored), then a smooth displacement (borders doubled)."""
    height, width = images.shape[-2:]
    theta = torch.from_numpy(_theta(bend.shifts, height, width)).to(images.device, non_blocking=True)
    places = _affine_grid(theta, height, width)
    moved = F.grid_sample(images.float(), places, padding_mode="reflection", align_corners=True)
    if row.alpha == 0:
        return truncate(moved)
    fields = pixels.turned(_smooth(bend.fields.flatten(1), height, width, row.sigma)).view(-1, 2, height, width)
    bent = torch.empty((len(images), height, width, 2), device=images.device)
    for axis, (centres, side) in enumerate(zip(_centres(height, width, images.device), (width, height), strict=True)):
        torch.add(centres, fields[:, axis], alpha=2 * row.alpha / side, out=bent[..., axis])
    return truncate(F.grid_sample(moved, bent, padding_mode="reflection", align_corners=False))


def _affine_grid(theta: Float[Tensor, "n 2 3"], height: int, width: int) -> Float[Tensor, "n h w 2"]:
    """Compute PyTorch's affine_grid with aligned corners, without its matrix product, as costly as two samplings."""
    y, x = (
        torch.linspace(-1, 1, side, device=theta.device).view(shape)
        for side, shape in ((height, (-1, 1)), (width, (-1,)))
    )
    grid = torch.empty((len(theta), height, width, 2), device=theta.device)
    for axis in (0, 1):
        by_x, by_y, offset = theta[:, axis].t().view(3, -1, 1, 1)
        torch.add(by_x * x, by_y * y + offset, out=grid[..., axis])
    return grid


@lru_cache(maxsize=8)
def _centres(height: int, width: int, device: torch.device) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Return the columns' and the rows' centres in grid_sample's coordinates."""
    y, x = (((torch.arange(side, dtype=torch.float64) * 2 + 1) / side - 1).float() for side in (height, width))
    columns, rows = torch.meshgrid(x, y, indexing="xy")
    return columns.contiguous().to(device), rows.contiguous().to(device)


def _theta(shifts: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return grid_sample's matrices (n, 2, 3) of the affine maps from three points to their shifted places.

    As in the definition, points are built from (height, width) and then read as (x, y).
    """
    centre, arm = np.array([height, width]) // 2, min(height, width) // 3
    points = np.array([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm], dtype=np.float64)
    ones = np.ones((len(shifts), 3, 1))
    shifted = np.concatenate([points + shifts.astype(np.float32), ones], 2)
    back = np.linalg.solve(shifted, np.broadcast_to(points, (len(shifts), 3, 2))).transpose(0, 2, 1)
    half = np.array([(width - 1) / 2, (height - 1) / 2])  # a pixel is x = half + half * u
    linear = back[:, :, :2] * half[None, None] / half[None, :, None]
    offset = (back[:, :, :2] @ half + back[:, :, 2] - half) / half
    theta: npt.NDArray[np.float32] = np.concatenate([linear, offset[..., None]], 2).astype(np.float32)
    return theta


def elastic_side(row: Elastic) -> int:
    """Return the smallest side: three points apart, and coordinates that are not divided by 0."""
    return 3


def _smooth(fields: Columns, height: int, width: int, sigma: float) -> Columns:
    """Smooth with SciPy's Gaussian, cut at three standard deviations, borders doubled."""
    radius = int(3 * sigma + 0.5)
    if radius <= WIDE:
        weights = pixels.gaussian_weights(sigma, radius)
        return pixels.separable_filter(fields, height, width, weights, pixels.symmetric)
    few_rows, few_columns, columns, rows = _thin(height, width, sigma, radius, fields.device)
    across = fields.shape[1]
    thin = few_rows.apply(fields.view(height, -1)).view(-1, across)
    thin = columns.apply(few_columns.apply(thin))
    return rows.apply(thin.view(-1, width * across)).view(fields.shape)


@lru_cache(maxsize=16)
def _thin(height: int, width: int, sigma: float, radius: int, device: torch.device) -> tuple[pixels.Taps, ...]:
    """Factor a wide smoothing into thin matrices: down and across into few numbers, then back across and down."""
    (tall, flat), (wide, narrow) = (_factors(size, sigma, radius) for size in (height, width))
    rank = len(flat)
    one_row = np.arange(rank)[:, None, None]  # each kept row is smoothed across by itself

    def across(matrix: npt.NDArray[np.float64]) -> pixels.Taps:
        count, size = matrix.shape
        sources = np.broadcast_to(one_row * size + np.arange(size), (rank, count, size)).reshape(-1, size)
        return pixels.taps(sources, np.tile(matrix, (rank, 1)), device)

    def down(matrix: npt.NDArray[np.float64]) -> pixels.Taps:
        return pixels.taps(np.broadcast_to(np.arange(matrix.shape[1]), matrix.shape), matrix, device)

    return down(flat), across(narrow), across(wide), down(tall)


def _factors(size: int, sigma: float, radius: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the smoothing of a side as left (size, rank) @ right (rank, size), without its negligible part."""
    smoothing = np.zeros((size, size))
    sources = pixels.symmetric(np.arange(size)[:, None] + np.arange(-radius, radius + 1), size)
    np.add.at(smoothing, (np.arange(size)[:, None], sources), pixels.gaussian_weights(sigma, radius))
    left, values, right = np.linalg.svd(smoothing)
    rank = int((values > NEGLIGIBLE * values[0]).sum())
    return left[:, :rank] * values[:rank], right[:rank]


class Scale(NamedTuple):
    """Constants of pixelate."""

    scale: float


def pixelate(images: ByteImages, draws: None, row: Scale) -> ByteImages:
    """Average down with PIL's box filter and repeat up, on the host.

    The three channels are processed as one tall grey image: the layout does not change, and the bytes are the same.
    """
    _, channels, height, width = images.shape
    down, across = int(height * row.scale), int(width * row.scale)
    result = torch.empty(images.shape, dtype=torch.uint8)
    for image, pixelated in zip(images.cpu().flatten(1, 2).numpy(), result.flatten(1, 2).numpy(), strict=True):
        # Across first, as PIL does with a square photograph; by default it reduces a tall image down first.
        narrow = Image.fromarray(image).resize((across, channels * height), Image.Resampling.BOX)
        tiny = narrow.resize((across, channels * down), Image.Resampling.BOX)
        pixelated[:] = np.asarray(tiny.resize((width, channels * height), Image.Resampling.NEAREST))
    return result.to(images.device)


def pixelate_side(row: Scale) -> int:
    """Return the smallest side: at least one pixel must remain."""
    return int(np.ceil(1 / row.scale))


class Quality(NamedTuple):
    """Constants of JPEG compression."""

    quality: int


def jpeg_compression(images: ByteImages, draws: None, row: Quality) -> ByteImages:
    """Compress and decode with libjpeg-turbo at 4:2:0."""
    return resave_as_jpeg(images, row.quality)
