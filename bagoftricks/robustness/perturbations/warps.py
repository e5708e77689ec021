"""Move, turn, scale and tilt images and keep the middle: outer pixels come into view.

Coordinates are (x, y) of pixel centres from 0 on, in fp64 on the host. Each pixel of a frame is a sum of four pixels of
the image, the same ones for every image: an image's arithmetic does not depend on its neighbours.
"""

from functools import lru_cache
from math import cos, hypot, radians, sin

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.robustness.corruptions.pixels import HAIR, ByteImages, Columns, Taps, from_columns, taps

Frame = UInt8[Tensor, "n 3 side side"]
Matrix = npt.NDArray[np.float64]
Places = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # x and y in the image for each pixel of a frame


def middle(images: ByteImages, side: int) -> Frame:
    """Return the square of ``side`` pixels in the middle, as torchvision's CenterCrop does."""
    top, left = _corner(images.shape[-2], side), _corner(images.shape[-1], side)
    return images[..., top : top + side, left : left + side].contiguous()


def translated(images: ByteImages, side: int, right: int) -> Frame:
    """Return the middle of the images moved to the right by whole pixels, black beyond the images."""
    width = images.shape[-1]
    moved = torch.zeros_like(images)
    if abs(right) < width:
        source = images[..., max(0, -right) : width - max(0, right)]
        moved[..., max(0, right) : width - max(0, -right)] = source
    return middle(moved, side)


def turned_and_scaled(columns: Columns, images: ByteImages, side: int, degrees: float, scale: float) -> Frame:
    """Turn clockwise by ``degrees`` and scale about the middle, bilinear; black beyond the image.

    The warp is torchvision 0.2's by PIL: about the pixel (W / 2, H / 2), borders held for half a pixel, values cut.
    ``columns`` are the images with the batch innermost.
    """
    made = _affine_taps(images.shape[-2], images.shape[-1], side, degrees, scale, images.device)
    return _frame(columns, made, images, side, 5 * HAIR)


def tilted(columns: Columns, images: ByteImages, side: int, degrees: float) -> Frame:
    """Turn by ``degrees`` about the x axis and the y axis in space, and view in perspective.

    Frames fade to black at borders. Values are rounded, as in OpenCV.
    """
    made = _tilt_taps(images.shape[-2], images.shape[-1], side, degrees, images.device)
    return _frame(columns, made, images, side, 0.5)


def tilt_matrix(height: int, width: int, degrees: float) -> Matrix:
    """Return the homogeneous matrix (3, 3) from an image's places to those of the tilted one.

    The image lies one pixel behind the plane at the distance of its diagonal: even untilted it is seen a bit smaller.
    """
    c, s, away = cos(radians(degrees)), sin(radians(degrees)), hypot(width, height)
    to_space = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_y = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    in_space: Matrix = about_x @ about_y @ to_space
    in_space[2, 2] += away
    to_plane = np.array([[away, 0, width / 2], [0, away, height / 2], [0, 0, 1]])
    product: Matrix = to_plane @ in_space
    return product


def _frame(columns: Columns, made: Taps, images: ByteImages, side: int, added: float) -> Frame:
    return from_columns(made.apply(columns).add_(added), images[..., :side, :side])


@lru_cache(maxsize=128)
def _affine_taps(height: int, width: int, side: int, degrees: float, scale: float, device: torch.device) -> Taps:
    c, s = cos(radians(degrees)) / scale, sin(radians(degrees)) / scale
    x, y = _grid(height, width, side)
    x, y = x - width / 2, y - height / 2
    x, y = c * x + s * y + width / 2, c * y - s * x + height / 2
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    return _four((np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)), inside, height, width, device)


@lru_cache(maxsize=64)
def _tilt_taps(height: int, width: int, side: int, degrees: float, device: torch.device) -> Taps:
    x, y = _grid(height, width, side)
    homogeneous = np.stack([x, y, np.ones_like(x)])
    u, v, w = np.linalg.inv(tilt_matrix(height, width, degrees)) @ homogeneous
    return _four((u / w, v / w), np.ones(len(x), dtype=bool), height, width, device)


def _four(places: Places, inside: npt.NDArray[np.bool_], height: int, width: int, device: torch.device) -> Taps:
    """Return the neighbours of each place, those beyond the image with weight 0."""
    (x, y), sources, weights = places, [], []
    left, top = np.floor(x), np.floor(y)
    for row, by_row in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, by_column in ((left, 1 - (x - left)), (left + 1, x - left)):
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            sources.append(np.where(there, row * width + column, 0).astype(np.int64))
            weights.append(np.where(there, by_row * by_column, 0.0))
    return taps(np.stack(sources, 1), np.stack(weights, 1), device)


def _grid(height: int, width: int, side: int) -> Places:
    """Return x and y of the pixels in the middle, row by row."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    return x.reshape(-1) + _corner(width, side), y.reshape(-1) + _corner(height, side)


def _corner(length: int, side: int) -> int:
    return round((length - side) / 2)
