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

from bagoftricks.evaluate.corruptions import pixels
from bagoftricks.evaluate.corruptions.draws import LEVELS, Stream
from bagoftricks.evaluate.corruptions.jpeg import resave_as_jpeg
from bagoftricks.evaluate.corruptions.pixels import Bytes, Columns, truncate

WIDE = 12  # taps to a side from which a smoothing is cheaper as a product of thin matrices
NEGLIGIBLE = 1e-7  # singular values of a smoothing, relative to the largest


class Factor(NamedTuple):
    """Constants of contrast."""

    factor: float


def contrast(images: Bytes, draws: None, row: Factor) -> Bytes:
    """(x - mean) c + mean, with each channel's own mean; as a table for each channel, in fp64."""
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
    sigma: float  # of its Gaussian
    affine: float  # largest shift of three points


class Bend(NamedTuple):
    """Shifts (x, y) of three points and two fields of displacements in (-1, 1), with the batch innermost."""

    shifts: npt.NDArray[np.float64]  # (n, 3, 2)
    fields: Float[Tensor, "pixels n 2"]  # x, y


def draw_bend(stream: Stream, images: Bytes, row: Elastic) -> Bend:
    """Shifts uniform in [-affine, affine), fields uniform in (-1, 1)."""
    shifts = (stream.scalars(0, 6) * 2 - 1).reshape(-1, 3, 2) * row.affine
    words = pixels.turned(stream.words(1, images.shape[-2] * images.shape[-1]))
    fields = words.view(torch.int16).float().add_(0.5).mul_(2 / LEVELS).view(len(words), -1, 2)
    return Bend(shifts, fields)


def elastic_transform(images: Bytes, bend: Bend, row: Elastic) -> Bytes:
    """An affine map of three points (borders mirrored), then a smooth displacement (borders doubled)."""
    height, width = images.shape[-2:]
    theta = torch.from_numpy(_theta(bend.shifts, height, width)).to(images.device, non_blocking=True)
    places = F.affine_grid(theta, list(images.shape), align_corners=True)
    moved = F.grid_sample(images.float(), places, padding_mode="reflection", align_corners=True)
    if row.alpha == 0:
        return truncate(moved)
    fields = _smooth(bend.fields.flatten(1), height, width, row.sigma).view(height, width, -1, 2).permute(2, 0, 1, 3)
    scale = torch.tensor([2 * row.alpha / width, 2 * row.alpha / height])
    bent = torch.empty(fields.shape, device=images.device)
    torch.mul(fields, scale.to(images.device, non_blocking=True), out=bent)
    bent.add_(_centres(height, width, images.device))
    return truncate(F.grid_sample(moved, bent, padding_mode="reflection", align_corners=False))


@lru_cache(maxsize=8)
def _centres(height: int, width: int, device: torch.device) -> Float[Tensor, "h w 2"]:
    """Pixel centres in grid_sample's coordinates."""
    y, x = ((torch.arange(side, dtype=torch.float64) * 2 + 1) / side - 1 for side in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).float().to(device)


def _theta(shifts: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    """grid_sample's matrices (n, 2, 3) of the affine maps that take three points to their shifted places.

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
    """Three points apart, and a coordinate that is not divided by nothing."""
    return 3


def _smooth(fields: Columns, height: int, width: int, sigma: float) -> Columns:
    """SciPy's Gaussian, cut at three standard deviations, borders doubled."""
    radius = int(3 * sigma + 0.5)
    if radius <= WIDE:
        weights = pixels.gaussian_weights(sigma, radius)
        return pixels.separable(fields, height, width, weights, pixels.symmetric)
    images = pixels.turned(fields).view(-1, height, width)
    for size in (height, width):  # each turn smooths the rows and swaps the axes
        wide, thin = _thin(size, sigma, radius, fields.device)
        images = torch.bmm(images.transpose(1, 2), thin.expand(len(images), -1, -1))
        images = torch.bmm(images, wide.expand(len(images), -1, -1))
    return pixels.turned(images.flatten(1))


@lru_cache(maxsize=16)
def _thin(size: int, sigma: float, radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The smoothing of a side as a product of two thin matrices, (rank, size) and (size, rank): wide @ thin, cut."""
    smoothing = np.zeros((size, size))
    offsets = np.arange(-radius, radius + 1)
    sources = pixels.symmetric(np.arange(size)[:, None] + offsets, size)
    np.add.at(smoothing, (np.arange(size)[:, None], sources), pixels.gaussian_weights(sigma, radius))
    left, values, right = np.linalg.svd(smoothing)
    rank = int((values > NEGLIGIBLE * values[0]).sum())
    wide, thin = (left[:, :rank] * values[:rank]).T, right[:rank].T
    return (
        torch.from_numpy(wide.astype(np.float32).copy()).to(device),
        torch.from_numpy(thin.astype(np.float32).copy()).to(device),
    )


class Scale(NamedTuple):
    """Constants of pixelate."""

    scale: float


def pixelate(images: Bytes, draws: None, row: Scale) -> Bytes:
    """Averaged down and repeated up by PIL, its box filter in both directions; on the host.

    The three channels go through as one grey image above each other: no layout changes, and the same bytes.
    """
    _, channels, height, width = images.shape
    down, across = int(height * row.scale), int(width * row.scale)
    result = torch.empty(images.shape, dtype=torch.uint8)
    for image, pixelated in zip(images.cpu().flatten(1, 2).numpy(), result.flatten(1, 2).numpy(), strict=True):
        # Across first, as PIL does with a square photograph; left to itself it takes a tall image down first.
        narrow = Image.fromarray(image).resize((across, channels * height), Image.Resampling.BOX)
        tiny = narrow.resize((across, channels * down), Image.Resampling.BOX)
        pixelated[:] = np.asarray(tiny.resize((width, channels * height), Image.Resampling.NEAREST))
    return result.to(images.device)


def pixelate_side(row: Scale) -> int:
    """At least one pixel remains."""
    return int(np.ceil(1 / row.scale))


class Quality(NamedTuple):
    """Constants of JPEG compression."""

    quality: int


def jpeg_compression(images: Bytes, draws: None, row: Quality) -> Bytes:
    """libjpeg-turbo at 4:2:0, written and read."""
    return resave_as_jpeg(images, row.quality)
