"""Edges and distances to them, for the drops of spatter."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

GROWTH = 16  # pixels over which a weak edge is followed from a strong one; OpenCV follows it to its end
Layer = Float[Tensor, "n h w"]


def canny(grey: Layer, low: float, high: float) -> Bool[Tensor, "n h w"]:
    """Find Canny's edges as OpenCV does: Sobel gradients, |dx| + |dy|, thinned, weak ones next to strong ones."""
    g = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    down = g[:, :-2] + 2 * g[:, 1:-1] + g[:, 2:]
    across = g[:, :, :-2] + 2 * g[:, :, 1:-1] + g[:, :, 2:]
    dx, dy = down[:, :, 2:] - down[:, :, :-2], across[:, 2:] - across[:, :-2]
    size = dx.abs() + dy.abs()
    edges = _thin(size, dx, dy) & (size > low)
    grown = edges & (size > high)
    for _ in range(GROWTH):
        grown = _dilated(grown).logical_and_(edges)
    return grown


def _dilated(mask: Bool[Tensor, "n h w"]) -> Bool[Tensor, "n h w"]:
    """Add the eight neighbours of each true pixel."""
    wide = mask.clone()
    wide[:, :, 1:] |= mask[:, :, :-1]
    wide[:, :, :-1] |= mask[:, :, 1:]
    tall = wide.clone()
    tall[:, 1:] |= wide[:, :-1]
    tall[:, :-1] |= wide[:, 1:]
    return tall


def _thin(size: Layer, dx: Layer, dy: Layer) -> Bool[Tensor, "n h w"]:
    """Return a mask of the pixels whose gradient is largest along its own direction, of four."""
    height, width = size.shape[1:]
    around = F.pad(size, (1, 1, 1, 1))

    def at(y: int, x: int) -> Layer:
        return around[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    flat, steep = (
        dy.abs() < dx.abs() * 0.41421356,
        dy.abs() > dx.abs() * 2.41421356,
    )  # tangents of 22.5 and 67.5 degrees
    sideways = (size > at(0, -1)) & (size >= at(0, 1))
    upright = (size > at(-1, 0)) & (size >= at(1, 0))
    falling, rising = (size > at(-1, -1)) & (size > at(1, 1)), (size > at(-1, 1)) & (size > at(1, -1))
    slanted = torch.where((dx < 0) ^ (dy < 0), rising, falling)
    return torch.where(flat, sideways, torch.where(steep, upright, slanted))


def distance_to(edges: Bool[Tensor, "n h w"], farthest: int) -> Layer:
    """Return the Euclidean distance to the nearest edge, at most ``farthest``; OpenCV sums steps of a 5 x 5 mask."""
    height, width = edges.shape[1:]
    along = torch.where(edges, 0.0, float(farthest))
    for step in (1, 2, 4, 8, 16):  # the nearest edge in the column: the minimum of |y| + value over all shifts
        padded = F.pad(along, (0, 0, step, step), value=float(farthest))
        nearer = torch.minimum(padded[:, :height], padded[:, 2 * step :]).add_(step)
        along = torch.minimum(along, nearer)
    squares = along.square()
    padded = F.pad(squares, (farthest, farthest), value=float(farthest**2))
    for x in range(-farthest, farthest + 1):
        squares = torch.minimum(squares, padded[:, :, x + farthest : x + farthest + width] + x * x)
    return squares.clamp_(max=farthest**2).sqrt_()
