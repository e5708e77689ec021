"""Shared code of the corruptions: layouts, linear maps of pixels, and the one conversion back to bytes.

*Columns* hold a chunk with the batch innermost, shape (H * W, images * channels): moving whole pixels then moves rows
of memory, for any border or zoom, and an image's arithmetic does not depend on its neighbours.
"""

from collections.abc import Callable
from functools import lru_cache
from math import exp
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

ByteImages = UInt8[Tensor, "n 3 h w"]
Columns = Float[Tensor, "pixels columns"]
HAIR = 2e-5
"""Grey levels added where fp64 gives a whole level or more and fp32 less: flat areas would lose one."""
Border = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.int64]]


def truncate(values: Float[Tensor, "n 3 h w"]) -> ByteImages:
    """Clip grey levels and cut them (without rounding) to bytes, as the definition does. Overwrites ``values``."""
    return values.clamp_(0, 255).to(torch.uint8)


def turned(matrix: Tensor) -> Tensor:
    """Return a copy of the transpose; even a single row has the plain strides that views of other types need."""
    return matrix.t().clone(memory_format=torch.contiguous_format)


def to_columns(images: UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]) -> Columns:
    """Return images with the batch innermost, as fp32."""
    return turned(images.view(-1, images.shape[-2] * images.shape[-1]).float())


def from_columns(values: Columns, images: ByteImages) -> ByteImages:
    """Truncate grey levels with the batch innermost, to the shape of ``images``. Overwrites ``values``."""
    return turned(values.clamp_(0, 255)).to(torch.uint8).view(images.shape)


class Taps(NamedTuple):
    """Linear map of rows: row p of the result sums ``weights`` times the rows ``sources``, from starts[p] on."""

    sources: Int32[Tensor, "taps"]
    starts: Int32[Tensor, "rows"]
    weights: Float[Tensor, "taps"]

    def apply(self, rows: Columns) -> Float[Tensor, "rows columns"]:
        """Map each column of ``rows``; taps are added in their order, so columns are independent."""
        bags = F.embedding_bag(self.sources, rows, self.starts, mode="sum", per_sample_weights=self.weights)
        return bags  # noqa: RET504


def taps(sources: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], device: torch.device) -> Taps:
    """Make a map from ``sources`` and ``weights`` of shape (rows, taps)."""
    rows, count = sources.shape
    starts = torch.arange(0, rows * count, count, dtype=torch.int32, device=device)
    flat = torch.from_numpy(sources.astype(np.int32).reshape(-1)).to(device)
    return Taps(flat, starts, torch.from_numpy(weights.astype(np.float32).reshape(-1)).to(device))


def nearest(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Repeat the border: a a | a b c | c c."""
    return np.clip(index, 0, size - 1)


def symmetric(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Double the border: b a | a b c | c b, SciPy's 'reflect'."""
    folded = index % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def mirrored(index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Mirror the border: c b | a b c | b a, OpenCV's default, reflect_101."""
    folded = index % max(1, 2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)


def gaussian_weights(sigma: float, radius: int) -> npt.NDArray[np.float64]:
    """Return a Gaussian of ``2 * radius + 1`` taps that sum to one."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else (offsets == 0).astype(float)
    normalised: npt.NDArray[np.float64] = weights / weights.sum()
    return normalised


def blur_columns(values: Columns, height: int, width: int, sigma: float) -> Columns:
    """Blur with scikit-image's ``gaussian``: border pixels repeated, cut at four standard deviations."""
    radius = int(4 * sigma + 0.5)
    return separable_filter(values, height, width, gaussian_weights(sigma, radius), nearest) if radius else values


def separable_filter(
    values: Columns, height: int, width: int, weights: npt.NDArray[np.float64], border: Border
) -> Columns:
    """Filter down, then across, with the same odd number of weights."""
    down, across = _separable_taps(height, width, tuple(weights.tolist()), border, values.device)
    moved = down.apply(values.view(height, -1)).view(values.shape)
    return across.apply(moved)


@lru_cache(maxsize=32)
def _separable_taps(
    height: int, width: int, weights: tuple[float, ...], border: Border, device: torch.device
) -> tuple[Taps, Taps]:
    radius, kernel = len(weights) // 2, np.array(weights)
    offsets = np.arange(-radius, radius + 1)
    down = border(np.arange(height)[:, None] + offsets, height)
    across = border(np.arange(width)[:, None] + offsets, width)
    pixels = (np.arange(height)[:, None, None] * width + across).reshape(height * width, -1)
    spread = np.broadcast_to(kernel, (height * width, len(weights)))
    return taps(down, np.broadcast_to(kernel, down.shape), device), taps(pixels, spread, device)


def smooth_kernel_1d(size: int, sigma: float) -> npt.NDArray[np.float64]:
    """Return OpenCV's ``getGaussianKernel``."""
    weights = np.array([exp(-((i - (size - 1) / 2) ** 2) / (2 * sigma**2)) for i in range(size)])
    normalised: npt.NDArray[np.float64] = weights / weights.sum()
    return normalised
