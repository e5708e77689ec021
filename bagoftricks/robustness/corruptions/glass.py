"""Glass blur: pixels take the colour of a nearby one, one after the other, between two Gaussian blurs."""

from typing import NamedTuple

import torch
from jaxtyping import Int32
from torch import Tensor

from bagoftricks.robustness.corruptions.draws import HALF_WORD_LEVELS, Stream
from bagoftricks.robustness.corruptions.pixels import HAIR, ByteImages, blur_columns, to_columns, turned

CHANNELS = 4  # a pixel in one word of 32 bits: red, green, blue and nothing

CHASED = 1 << 16  # pixels that are followed together on a CPU: their tables fit into the cache

Displacements = Int32[Tensor, "n iterations h w"]


class Glass(NamedTuple):
    """Constants of glass blur."""

    sigma: float
    max_delta: int  # offsets lie in [-max_delta, max_delta)
    iterations: int


class Moves(NamedTuple):
    """Offsets to the pixel that each visited one copies (rows and columns from max_delta + 1 to side - max_delta)."""

    down: Displacements
    right: Displacements


def draw_moves(stream: Stream, images: ByteImages, row: Glass) -> Moves:
    """Draw offsets in [-max_delta, max_delta), uniform up to 2^-16."""
    height, width = (side - 2 * row.max_delta for side in images.shape[-2:])
    pairs = stream.halves(0, row.iterations, height, width, 2).int().add_(HALF_WORD_LEVELS // 2)
    offsets = pairs.mul_(2 * row.max_delta).bitwise_right_shift_(16).sub_(row.max_delta)
    return Moves(offsets[..., 0], offsets[..., 1])


def glass_blur(images: ByteImages, moves: Moves, row: Glass) -> ByteImages:
    """Blur, cut to bytes, move pixels, blur again.

    Pixels are visited from the last to the first. The definition means to swap two pixels, but its two views alias, so
    the visited pixel takes the other's colour and the other keeps its own.
    """
    count, _, height, width = images.shape
    four = torch.zeros((count, CHANNELS, height, width), dtype=torch.uint8, device=images.device)
    four[:, :3] = images
    blurred = blur_columns(to_columns(four), height, width, row.sigma).add_(2 * HAIR)
    packed = turned(blurred.to(torch.uint8).view(torch.int32))  # images x pixels
    source = _sources(moves, height, width, row.max_delta)
    moved = turned(torch.index_select(packed.view(-1), 0, source.view(-1)).view(count, -1))
    again = blur_columns(moved.view(torch.uint8).float(), height, width, row.sigma).add_(2 * HAIR)
    result = turned(again.to(torch.uint8).view(torch.int32)).view(torch.uint8)
    return result.view(count, height, width, CHANNELS)[..., :3].permute(0, 3, 1, 2)


def glass_side(row: Glass) -> int:
    """Return the smallest side: at least one pixel must be visited."""
    return 2 * row.max_delta + 1


def _sources(moves: Moves, height: int, width: int, delta: int) -> Int32[Tensor, "n pixels"]:
    """Return for each pixel the one whose first colour it ends with, as an index into all pixels of the chunk.

    A visited pixel's parent is the one it copies. A parent behind it in the order of rows was overwritten before, so
    its own parent counts; one in front still has its first colour. Following parents is a pointer chase, which
    doubling ends after log2 of the longest chain.
    """
    pixels = height * width
    together = max(1, CHASED // pixels) if moves.down.device.type == "cpu" else len(moves.down)
    parts = zip(torch.split(moves.down, together), torch.split(moves.right, together), strict=True)
    found = [_chased(down, right, height, width, delta) for down, right in parts]
    for number, sources in enumerate(found):
        sources.add_(number * together * pixels)
    return torch.cat(found).view(-1, pixels)


def _chased(down: Displacements, right: Displacements, height: int, width: int, delta: int) -> Int32[Tensor, "pixels"]:
    """Return the sources of some images, as indices into all their pixels."""
    every = torch.arange(len(down) * height * width, dtype=torch.int32, device=down.device)
    first = every
    for turn in range(down.shape[1]):
        parent = every.clone()
        inside = parent.view(-1, height, width)[:, delta + 1 : height - delta + 1, delta + 1 : width - delta + 1]
        inside.add_(down[:, turn], alpha=width).add_(right[:, turn])
        chased = _chase(parent, every, doublings=0 if delta == 1 else 5 if delta == 2 else 6)
        first = torch.index_select(first, 0, chased) if turn else chased
    return first


def _chase(parent: Int32[Tensor, "pixels"], own: Int32[Tensor, "pixels"], doublings: int) -> Int32[Tensor, "pixels"]:
    """Return the pixels whose first colour arrives; chains beyond 2^doublings have a chance below 1e-8 per image."""
    total = len(own)
    # Pixel p has the nodes p (its last colour) and total + p (its first). A parent not yet overwritten is a first.
    node = torch.where(parent > own, parent, parent + total)
    table = torch.cat([node, own + total])
    for _ in range(doublings):
        node = torch.index_select(table, 0, node)
        table[:total] = node
    return node.remainder_(total)
