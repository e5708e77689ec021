"""Snow, frost, fog and brightness."""

from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from bagoftricks.robustness.corruptions.blur import CUT_AT_16_BITS, zoomed
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.frost import Frost
from bagoftricks.robustness.corruptions.motion import drag
from bagoftricks.robustness.corruptions.pixels import HAIR, ByteImages, truncate

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV
WIBBLE = 100.0  # square root of the amplitude of fog's first level


class Snow(NamedTuple):
    """Constants of snow."""

    mean: float
    deviation: float
    zoom: float
    threshold: float
    radius: int
    sigma: float
    mix: float  # weight of the photograph; the rest is its whitened version


class Flakes(NamedTuple):
    """Middle of each image's layer of noise, which is zoomed into snow, and the direction of the fall in degrees."""

    layer: Float[Tensor, "n rows columns"]
    angles: npt.NDArray[np.float64]


def draw_flakes(stream: Stream, images: ByteImages, row: Snow) -> Flakes:
    """Draw only the crop that is zoomed, and angles uniform in [-135, -45)."""
    rows, columns = (ceil(side / row.zoom) for side in images.shape[-2:])
    layer = stream.normal(0, rows, columns).mul_(row.deviation).add_(row.mean)
    return Flakes(layer, stream.scalars(1)[:, 0] * 90 - 135)


def snow(images: ByteImages, flakes: Flakes, row: Snow) -> ByteImages:
    """Add blurred noise and its upside-down copy to a whitened photograph."""
    height, width = images.shape[-2:]
    layer = _zoom(_zoom(flakes.layer, height, row.zoom, 1), width, row.zoom, 2)
    layer = torch.where(layer < row.threshold, 0, layer).clamp_(0, 1).mul_(255).floor_()  # stored in 8 bits
    fallen = drag(layer[:, None], flakes.angles, row.radius, row.sigma).add_(CUT_AT_16_BITS).floor_()
    values = images.float()
    grey = (values[:, :1] * GREY[0]).add_(values[:, 1:2], alpha=GREY[1]).add_(values[:, 2:], alpha=GREY[2])
    white = torch.maximum(values, grey.mul_(1.5).add_(127.5)).mul_(1 - row.mix)
    return truncate(white.add_(values, alpha=row.mix).add_(fallen.add_(fallen.flip(2, 3))))


def _zoom(layer: Float[Tensor, "n rows columns"], size: int, factor: float, axis: int) -> Tensor:
    """Zoom one axis of the crop to ``size``."""
    crop = layer.shape[axis]
    start = (size - crop) // 2
    (first, near), (second, far) = zoomed(size, factor)
    shape = [1, -1, 1] if axis == 1 else [1, 1, -1]
    parts = []
    for index, weight in ((first, near), (second, far)):
        where = torch.from_numpy(index - start).to(layer.device)
        share = torch.from_numpy(weight.astype(np.float32)).to(layer.device).view(shape)
        parts.append(layer.index_select(axis, where).mul_(share))
    return parts[0].add_(parts[1])


class FrostMix(NamedTuple):
    """Constants of frost."""

    image: float  # weight of the photograph
    frost: float
    scale: float  # of the picture of frost


def draw_frost(stream: Stream, images: ByteImages, row: FrostMix, frost: Frost | None) -> ByteImages:
    """Draw a crop of one of five pictures, at its own scale."""
    pictures = frost or Frost.made_up()
    return pictures.crops(stream.scalars(0, 3), images.shape[-2], images.shape[-1], row.scale, images.device)


def frost(images: ByteImages, crops: ByteImages, row: FrostMix) -> ByteImages:
    """Return the weighted sum of the photograph and the frost."""
    return truncate(images.float().mul_(row.image).add_(crops, alpha=row.frost))


Levels = list[Float[Tensor, "n 3 _ _"]]


class Fog(NamedTuple):
    """Constants of fog."""

    strength: float
    decay: float
    side: int  # of the smallest map, a power of two


def draw_fog(stream: Stream, images: ByteImages, row: Fog) -> Levels:
    """Draw numbers uniform in (-1, 1) for each level of the map: the squares, then both sets of diamonds."""
    side = _map_side(images, row)
    numbers = stream.uniform(0, side * side - 1)
    levels, start = [], 0
    for size in (1 << power for power in range(side.bit_length() - 1)):
        levels.append(numbers[:, start : start + 3 * size * size].view(-1, 3, size, size))
        start += 3 * size * size
    return levels


def fog(images: ByteImages, levels: Levels, row: Fog) -> ByteImages:
    """Add a plasma fractal, and scale the sum back to the photograph's brightest value.

    The map is normalised before it is cut to the photograph.
    """
    height, width = images.shape[-2:]
    values = images.float()
    brightest = values.amax((1, 2, 3), keepdim=True)
    plasma = _plasma(levels, row.decay)
    lowest, highest = plasma.amin((1, 2), True), plasma.amax((1, 2), True)
    cut = plasma[:, :height, :width].sub(lowest).mul_(255 * row.strength / (highest - lowest))
    return truncate(values.add_(cut[:, None]).mul_(brightest / (brightest + 255 * row.strength)))


def _map_side(images: ByteImages, row: Fog) -> int:
    longest = max(images.shape[-2:])
    return max(row.side, 1 << (longest - 1).bit_length())


def _plasma(levels: Levels, decay: float) -> Float[Tensor, "n side side"]:
    """Run diamond-square on a torus: each level doubles the grid, adds noise of amplitude 100^2 / decay^(2 level)."""
    grid = torch.zeros_like(levels[0][:, 0])
    wibble = WIBBLE
    for noise in levels:
        scaled = noise * wibble**2
        pairs = grid + grid.roll(-1, 1)
        middle = (pairs + pairs.roll(-1, 2)).div_(4).add_(scaled[:, 0])
        across = (middle + middle.roll(1, 1)).add_(grid).add_(grid.roll(-1, 2)).div_(4).add_(scaled[:, 1])
        down = (middle + middle.roll(1, 2)).add_(pairs).div_(4).add_(scaled[:, 2])
        upper, lower = torch.stack([grid, across], -1).flatten(2), torch.stack([down, middle], -1).flatten(2)
        grid = torch.stack([upper, lower], 2).flatten(1, 2)
        wibble /= decay
    return grid


class Lift(NamedTuple):
    """Constants of brightness."""

    value: float  # added to HSV's value


def brightness(images: ByteImages, draws: None, row: Lift) -> ByteImages:
    """Raise HSV's value, keep hue and saturation: all channels of a pixel are scaled alike; black becomes grey."""
    values = images.float()
    brightest = values.amax(1, keepdim=True)
    raised = (brightest + 255 * row.value).clamp_(max=255)
    factor = raised / brightest.clamp(min=1)
    return truncate(torch.where(brightest > 0, values.mul_(factor), raised).add_(5 * HAIR))
