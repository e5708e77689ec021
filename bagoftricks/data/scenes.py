"""Scenes with known masks and boxes: cut-outs of grey images, coloured and pasted on textures.

All numbers are whole ones, or sums that are exact in fp32, so every machine draws the same bytes. Scene i of a key is
the same whichever others are drawn. N scenes, S their side in pixels, M places for articles, n cut-outs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, Int8, Int64, UInt8
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.rng import Key

AT_A_TIME = 256  # scenes that are drawn at once
FRACTIONS = 64  # of a pixel, in which positions of a source are counted
OPAQUE = 16  # lowest grey that belongs to an article
DARKEST = 80  # of 255: share of its colour that a black pixel of an article has
DRAWS = 9  # of each article
NOISE_SIDE = 6  # pixels of the noise that is enlarged to a texture
MOST_CLASSES = 254  # one byte holds the background, the classes and 255

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CutOuts:
    """Grey images on black, of one article each, and their classes from 0."""

    greys: UInt8[Tensor, "n h w"]
    labels: Int64[Tensor, " n"]

    def __post_init__(self) -> None:
        if len(self.labels) == 0 or int(self.labels.max()) >= MOST_CLASSES:
            raise UserError(f"scenes: need cut-outs of 1 to {MOST_CLASSES} classes")


@dataclass(frozen=True)
class SceneLook:
    """Size of scenes in pixels, and number, sizes and least visible share of their articles."""

    side: int = 96
    most: int = 4
    smallest: float = 0.2
    largest: float = 0.5
    visible: float = 0.4


@dataclass(frozen=True)
class Scenes:
    """Images; masks with 0 for the background and c + 1 for class c; boxes (x1, y1, x2, y2, c) of what is visible.

    A box holds the pixels from x1 to x2 - 1 and from y1 to y2 - 1. Rows without an article come last, and are -1.
    """

    images: UInt8[Tensor, "N 3 S S"]
    masks: UInt8[Tensor, "N S S"]
    boxes: Float32[Tensor, "N M 5"]


def draw_scenes(
    cut_outs: CutOuts,
    textures: UInt8[Tensor, "T 3 H W"] | None,
    key: Key,
    numbers: npt.ArrayLike,
    look: SceneLook = SceneLook(),
) -> Scenes:
    """Return the scenes of these numbers: one article to ``look.most``, each of at least its least visible share.

    Backgrounds are crops of ``textures``, which are photographs; without any, they are smooth noise.
    An article that would leave too little of one behind it is left out.
    """
    each = np.asarray(numbers, np.int64)
    parts = [
        _draw(cut_outs, textures, key, rows, look) for rows in np.split(each, range(AT_A_TIME, len(each), AT_A_TIME))
    ]
    return Scenes(*(torch.cat(part) for part in zip(*((p.images, p.masks, p.boxes) for p in parts), strict=True)))


def _draw(cut_outs: CutOuts, textures: Tensor | None, key: Key, rows: Whole, look: SceneLook) -> Scenes:
    images = backgrounds(textures, key.fold("background"), rows, look.side)
    places = torch.full((len(rows), look.side, look.side), -1, dtype=torch.int8)  # number of the article at each pixel
    masks = torch.zeros(places.shape, dtype=torch.uint8)
    classes = torch.full((len(rows), look.most), -1)
    needed, visible = torch.zeros(len(rows), look.most), torch.zeros(len(rows), look.most)  # pixels of each article
    for place, (chosen, colours, inside) in enumerate(_articles(cut_outs, key.fold("article"), rows, look)):
        area = inside.sum((1, 2))
        left = visible - pixels_of(places.masked_fill(~inside, -1), look.most)
        fits = (area > 0) & (left >= needed).all(1)
        painted = inside & fits[:, None, None]
        places = places.masked_fill(painted, place)
        images = torch.where(painted[:, None], colours, images)
        visible = torch.where(fits[:, None], left, visible)
        visible[:, place], needed[:, place] = fits * area, fits * area * look.visible
        classes[:, place] = torch.where(fits, cut_outs.labels[chosen], -1)
        masks = masks.masked_fill(painted, 0) + painted * (classes[:, place, None, None] + 1).to(torch.uint8)
    return Scenes(images, masks, visible_boxes(places, classes))


def _articles(cut_outs: CutOuts, key: Key, rows: Whole, look: SceneLook) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, from the back to the front, the cut-outs chosen, their colours on the canvas, and where they are."""
    draws = key.uniform(rows, 1 + look.most * DRAWS)
    counts = 1 + (draws[:, 0] * look.most).astype(np.int64)
    smallest, span = look.smallest * look.side, (look.largest - look.smallest) * look.side
    for place in range(look.most):
        one = draws[:, 1 + place * DRAWS : 1 + (place + 1) * DRAWS]
        chosen = torch.from_numpy((one[:, 0] * len(cut_outs.labels)).astype(np.int64))
        extents = np.maximum(1, smallest + one[:, 1:3] * span).astype(np.int64)  # width and height
        corners = (one[:, 3:5] * (look.side + 1 - extents)).astype(np.int64)
        tints = torch.from_numpy((64 + one[:, 5:8] * 192).astype(np.int32))
        source = cut_outs.greys[chosen]
        source = torch.where(torch.from_numpy(one[:, 8] < 0.5)[:, None, None], source, source.flip(2))
        opaque = (source >= OPAQUE).to(torch.uint8) * 255
        greys, opacity = pasted(torch.stack([source, opaque], 1), corners, extents, look.side).unbind(1)
        inside = opacity >= 128
        shades = DARKEST * 255 + (255 - DARKEST) * greys.int()
        colours = ((tints[:, :, None, None] * shades[:, None]) >> 16).to(torch.uint8)
        yield chosen, colours, inside & torch.from_numpy(place < counts)[:, None, None]


def backgrounds(
    textures: UInt8[Tensor, "T 3 H W"] | None, key: Key, rows: Whole, side: int
) -> UInt8[Tensor, "N 3 side side"]:
    """Return a crop of a texture for each scene, of half its width and height or more, enlarged to the scene."""
    draws = key.uniform(rows, 5 + 3 * NOISE_SIDE**2)
    if textures is None:
        noise = (draws[:, 5:] * 256).astype(np.uint8)
        source = torch.from_numpy(noise).view(-1, 3, NOISE_SIDE, NOISE_SIDE)
    else:
        source = textures[torch.from_numpy((draws[:, 0] * len(textures)).astype(np.int64))]
    extents = (side * (1 + draws[:, 1:3])).astype(np.int64)  # of the whole texture, which juts out of the scene
    corners = -(draws[:, 3:5] * (extents - side + 1)).astype(np.int64)
    return pasted(source, corners, extents, side, fade=False)


def pasted(
    sources: UInt8[Tensor, "N C h w"], corners: Whole, extents: Whole, side: int, *, fade: bool = True
) -> UInt8[Tensor, "N C side side"]:
    """Return canvases with each source enlarged or shrunk to its extents (width, height), its corner at (x, y).

    Interpolated bilinearly. Outside, a canvas is 0; ``fade=False`` repeats the border of the source instead.
    """
    across, down = (
        _weights(corners[:, axis], extents[:, axis], side, sources.shape[3 - axis], fade=fade)[:, None]
        for axis in (0, 1)
    )
    sums = down @ sources.float() @ across.transpose(2, 3)  # whole numbers below 2^24: exact
    return ((sums.int() + FRACTIONS**2 // 2) >> 12).to(torch.uint8)


def _weights(start: Whole, extent: Whole, side: int, pixels: int, *, fade: bool) -> Float32[Tensor, "N side pixels"]:
    """Return the weight of each of ``pixels`` pixels of a source in each of ``side`` positions, in FRACTIONS."""
    middles = 2 * (np.arange(side) - start[:, None]) + 1  # in halves of a position
    at = (middles * pixels * FRACTIONS // (2 * extent[:, None]) - FRACTIONS // 2).astype(np.float32)
    if not fade:
        at = at.clip(0, (pixels - 1) * FRACTIONS)
    distance = torch.from_numpy(at)[:, :, None] - FRACTIONS * torch.arange(pixels, dtype=torch.float32)
    return (FRACTIONS - distance.abs_()).clamp_(min=0)


def pixels_of(places: Int8[Tensor, "N H W"], most: int) -> Int64[Tensor, "N M"]:
    """Return the number of pixels of each article."""
    return torch.stack([(places == place).sum((1, 2)) for place in range(most)], 1)


def visible_boxes(places: Int8[Tensor, "N H W"], classes: Int64[Tensor, "N M"]) -> Float32[Tensor, "N M 5"]:
    """Return the tight box of the pixels of each article, those without a class as -1 and last."""
    seen = places[:, None] == torch.arange(classes.shape[1], dtype=torch.int8)[:, None, None]
    sides = []
    for line in (seen.any(2), seen.any(3)):  # columns, rows
        first, last = line.byte().argmax(2), line.shape[2] - line.flip(2).byte().argmax(2)
        sides.append((first, last))
    (x1, x2), (y1, y2) = sides
    boxes = torch.stack([x1, y1, x2, y2, classes], 2).float().masked_fill((classes < 0)[:, :, None], -1)
    order = (classes < 0).byte().sort(dim=1, stable=True).indices
    return boxes.gather(1, order[:, :, None].expand_as(boxes))
