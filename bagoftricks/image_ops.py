"""Image operations of augmentation policies, on bytes; each image of a batch has its own.

They compute what PIL computes, in integers or in single steps of IEEE arithmetic, so that an image's result does not
depend on its batch. A batch's operations of one kind run together: a policy costs a few large kernels, not hundreds of
small ones. Tricks may import this module as they do ``layers``: several policies share it, and it names none of them.

Shapes: B batch, N images of one kind, H height, W width. Images are uint8 RGB on the CPU.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt8
from torch import Tensor

Bytes = UInt8[Tensor, "N 3 H W"]
Tables = UInt8[Tensor, "N 3 256"]
Amounts = Float[Tensor, "N 1 1"]
Pixels = Int64[Tensor, "N 3 HW"]
Coordinates = Int32[Tensor, "N H W"]


class Op(Enum):
    """Operations; the comments give the meaning of their amounts."""

    IDENTITY = "identity"
    SHEAR_X = "shear x"  # columns moved for each row; content moves left where it is positive
    SHEAR_Y = "shear y"  # rows moved for each column
    TRANSLATE_X = "translate x"  # pixels to the left
    TRANSLATE_Y = "translate y"  # pixels up
    ROTATE = "rotate"  # degrees, counter-clockwise
    AUTO_CONTRAST = "autocontrast"
    EQUALIZE = "equalize"
    INVERT = "invert"
    POSTERIZE = "posterize"  # bits kept, 0 to 8
    SOLARIZE = "solarize"  # threshold from which pixels are inverted, 0 to 256
    SOLARIZE_ADD = "solarize-add"  # added to pixels below 128
    CONTRAST = "contrast"  # a factor, here and below: 1 changes nothing
    BRIGHTNESS = "brightness"
    COLOUR = "colour"
    SHARPNESS = "sharpness"
    CUTOUT = "cutout"  # half the side of a square, in pixels


class Do(NamedTuple):
    """Operation on one image."""

    op: Op
    amount: float = 0.0
    spot: tuple[float, float] = (0.0, 0.0)  # the centre of a cutout, as shares of height and width


DO_NOTHING = Do(Op.IDENTITY)
WARPS = (Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.ROTATE)
TRANSLATIONS = (Op.TRANSLATE_X, Op.TRANSLATE_Y)
ENHANCEMENTS = (Op.COLOUR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
WHOLE = frozenset({Op.POSTERIZE, Op.SOLARIZE, Op.SOLARIZE_ADD, Op.CUTOUT})  # operations with whole amounts
AT_ONCE = 1 << 15  # pixels that go through a kind of operation together: they fit into the cache
ONE = 1 << 16  # a pixel in fixed-point coordinates, as PIL's nearest resampling has them

Ranges = Mapping[Op, tuple[float, float]]


def amount(op: Op, share: float, sign: float, ranges: Ranges, whole: frozenset[Op] = WHOLE) -> float:
    """Return the amount at ``share`` of the operation's range; 0 for an operation without a range.

    Warps, and enhancements whose range starts at 1 (no change), go to either side with the sign (a draw in [0, 1)).
    The distance from the start is truncated for ``whole`` amounts.
    """
    start, end = ranges.get(op, (0.0, 0.0))
    way = round((end - start) * share, 9)  # so that 0.1 + (1.9 - 0.1) / 2 is 1
    way = int(way) if op in whole else way
    either_side = op in WARPS or (op in ENHANCEMENTS and start == 1)
    return start - way if either_side and sign < 0.5 else start + way


def perform(
    images: UInt8[Tensor, "B 3 H W"], what: Sequence[Do], *, fill: int = 128, bilinear: bool = False
) -> UInt8[Tensor, "B 3 H W"]:
    """Apply to each image its own operation. Warps and cutouts leave ``fill``; ``bilinear`` resamples the warps."""
    images = images.clone()
    rows: dict[Kind, list[int]] = {}
    for i, do in enumerate(what):
        if do.op is not Op.IDENTITY:
            rows.setdefault(smooth_warp if bilinear and between_pixels(do) else KIND_OF[do.op], []).append(i)
    together = max(1, AT_ONCE // images[0, 0].numel())
    for kind, chosen in rows.items():
        for start in range(0, len(chosen), together):
            some = chosen[start : start + together]
            index = torch.tensor(some)
            images[index] = kind(images[index], [what[i] for i in some], fill)
    return images


Kind = Callable[[Tensor, list[Do], int], Tensor]


def warp(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Apply affine maps, resampled to the nearest pixel."""
    x, y, outside = _sources(images, todo)
    return _pick(images, x >> 16, y >> 16).masked_fill_(outside, fill)


def smooth_warp(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Apply affine maps, resampled bilinearly."""
    x, y, outside = _sources(images, todo)
    x, y = x - ONE // 2, y - ONE // 2  # between pixel centres
    right, down = ((v & (ONE - 1)).float().div(ONE)[:, None] for v in (x, y))
    x, y = x >> 16, y >> 16

    def row(y: Tensor) -> Tensor:
        a, b = _pick(images, x, y).float(), _pick(images, x + 1, y).float()
        return a + (b - a) * right

    above = row(y)
    return (above + (row(y + 1) - above) * down).to(torch.uint8).masked_fill_(outside, fill)


def between_pixels(do: Do) -> bool:
    """Return True for a warp that needs values between pixel centres."""
    return do.op in WARPS and not (do.op in TRANSLATIONS and do.amount == int(do.amount))


def affine(do: Do, height: int, width: int) -> tuple[float, ...]:
    """Return (a, b, c, d, e, f): the pixel at (x, y) comes from (a x + b y + c, d x + e y + f)."""
    by = do.amount
    if do.op is Op.ROTATE:
        cos, sin = math.cos(math.radians(by)), math.sin(math.radians(by))
        centre_x, centre_y = width / 2, height / 2
        c, f = centre_x - cos * centre_x + sin * centre_y, centre_y - sin * centre_x - cos * centre_y
        return cos, -sin, c, sin, cos, f
    return {
        Op.SHEAR_X: (1, by, 0, 0, 1, 0),
        Op.SHEAR_Y: (1, 0, 0, by, 1, 0),
        Op.TRANSLATE_X: (1, 0, by, 0, 1, 0),
        Op.TRANSLATE_Y: (1, 0, 0, 0, 1, by),
    }[do.op]


def _fixed(matrix: tuple[float, ...]) -> list[int]:
    """Return the matrix in 1/65536 pixels, with its offsets taken at the centre of the first pixel."""
    a, b, c, d, e, f = matrix
    return [math.floor(v * ONE + 0.5) for v in (a, b, c + a / 2 + b / 2, d, e, f + d / 2 + e / 2)]


def _sources(images: Bytes, todo: list[Do]) -> tuple[Coordinates, Coordinates, Bool[Tensor, "N 1 H W"]]:
    """Return each pixel's source (x, y) in 1/65536 pixels, pixel centres at halves, and a mask of outside sources."""
    height, width = images.shape[2:]
    made = torch.tensor([_fixed(affine(do, height, width)) for do in todo], dtype=torch.int32)[:, :, None, None]
    rows, columns = torch.arange(height, dtype=torch.int32)[:, None], torch.arange(width, dtype=torch.int32)
    x = made[:, 2] + made[:, 0] * columns + made[:, 1] * rows
    y = made[:, 5] + made[:, 3] * columns + made[:, 4] * rows
    outside = (x < 0) | (x >= width * ONE) | (y < 0) | (y >= height * ONE)
    return x, y, outside[:, None]


def _pick(images: Bytes, x: Coordinates, y: Coordinates) -> Bytes:
    """Return the pixels at (x, y), or the nearest ones inside."""
    height, width = images.shape[2:]
    where = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return images.flatten(2).gather(2, where.long().flatten(1)[:, None].expand(-1, 3, -1)).view_as(images)


def look_up(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Map each channel's values by a table of the image's own."""
    pixels = images.flatten(2).long()
    tables = torch.empty(len(images), 3, 256, dtype=torch.uint8)
    for op in dict.fromkeys(do.op for do in todo):
        rows = torch.tensor([i for i, do in enumerate(todo) if do.op is op])
        amounts = torch.tensor([do.amount for do in todo if do.op is op], dtype=torch.float32).view(-1, 1, 1)
        tables[rows] = TABLE_OF[op](pixels[rows], amounts)
    return tables.gather(2, pixels).view_as(images)


def invert(pixels: Pixels, amounts: Amounts) -> Tables:
    return _everywhere(_levels().flip(0), len(pixels))


def posterize(pixels: Pixels, bits: Amounts) -> Tables:
    return _everywhere(_levels() >> (8 - bits.long()) << (8 - bits.long()), len(pixels))


def solarize(pixels: Pixels, thresholds: Amounts) -> Tables:
    levels = _levels()
    return _everywhere(torch.where(levels < thresholds, levels, 255 - levels), len(pixels))


def solarize_add(pixels: Pixels, added: Amounts) -> Tables:
    levels = _levels()
    return _everywhere(torch.where(levels < 128, (levels + added.long()).clamp(0, 255), levels), len(pixels))


def adjust_brightness(pixels: Pixels, factors: Amounts) -> Tables:
    return _everywhere(_blend(torch.zeros(()), _levels(), factors), len(pixels))


def adjust_contrast(pixels: Pixels, factors: Amounts) -> Tables:
    """Scale the distance from the image's mean grey. (The TPU code and Assembled-CNN's take pixels / 256 for it.)"""
    grey = _grey(pixels).sum(2, keepdim=True).double() / pixels.shape[2]
    return _everywhere(_blend((grey + 0.5).floor(), _levels(), factors), len(pixels))


def auto_contrast(pixels: Pixels, amounts: Amounts) -> Tables:
    """Stretch each channel to 0..255."""
    low, high = pixels.amin(2, keepdim=True).double(), pixels.amax(2, keepdim=True).double()
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # 255 / tensor would multiply by a reciprocal
    stretched = (_levels() * scale + -low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, _levels().double()).to(torch.uint8)


def equalize(pixels: Pixels, amounts: Amounts) -> Tables:
    """Spread each channel's values so that all are about equally frequent, in PIL's integer form."""
    n, channels, size = pixels.shape
    offsets = 256 * torch.arange(n * channels).view(n, channels, 1)
    counts = torch.bincount((pixels + offsets).flatten(), minlength=n * channels * 256).view(n, channels, 256)
    highest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = (size - highest) // 255
    below = counts.cumsum(2) - counts
    spread = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, _levels()).to(torch.uint8)


def colour(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Scale the distance from the grey image."""
    return _blend(_grey(images.int()), images, _factors(todo))


def sharpness(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Scale the distance from the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13; the border stays."""
    x = images.int()
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (total + 6) * 5042 >> 16  # rounded / 13, exact for all sums up to 13 * 255
    return _blend(smooth, images, _factors(todo))


def cutout(images: Bytes, todo: list[Do], fill: int) -> Bytes:
    """Fill a square whose centre is anywhere in the image."""
    height, width = images.shape[2:]
    top, left, half = torch.tensor(
        [[int(do.spot[0] * height), int(do.spot[1] * width), int(do.amount)] for do in todo]
    ).T[:, :, None, None]
    row, column = torch.arange(height)[:, None] - top, torch.arange(width) - left
    square = (row >= -half) & (row < half) & (column >= -half) & (column < half)
    return images.masked_fill(square[:, None], fill)


TABLE_OF: dict[Op, Callable[[Tensor, Tensor], Tensor]] = {
    Op.INVERT: invert,
    Op.POSTERIZE: posterize,
    Op.SOLARIZE: solarize,
    Op.SOLARIZE_ADD: solarize_add,
    Op.BRIGHTNESS: adjust_brightness,
    Op.CONTRAST: adjust_contrast,
    Op.AUTO_CONTRAST: auto_contrast,
    Op.EQUALIZE: equalize,
}
KIND_OF: dict[Op, Kind] = {
    **dict.fromkeys(WARPS, warp),
    **dict.fromkeys(TABLE_OF, look_up),
    Op.COLOUR: colour,
    Op.SHARPNESS: sharpness,
    Op.CUTOUT: cutout,
}


def _levels() -> Int64[Tensor, " 256"]:
    return torch.arange(256)


def _everywhere(tables: Tensor, count: int) -> Tables:
    """Return the same table for each channel."""
    return tables.to(torch.uint8).expand(count, 3, 256)


def _grey(rgb: Tensor) -> Tensor:
    """Return PIL's luma, rounded: (N 3 ...) -> (N 1 ...)."""
    luma: Tensor = 19595 * rgb[:, :1] + 38470 * rgb[:, 1:2] + 7471 * rgb[:, 2:] + 0x8000
    return luma >> 16


def _factors(todo: list[Do]) -> Float[Tensor, "N 1 1 1"]:
    return torch.tensor([do.amount for do in todo], dtype=torch.float32).view(-1, 1, 1, 1)


def _blend(low: Tensor, high: Tensor, factor: Tensor) -> Tensor:
    """Return ``low + factor * (high - low)`` in PIL's steps of fp32, truncated to bytes."""
    low, high = low.float(), high.float()
    return (low + factor * (high - low)).clamp_(0, 255).to(torch.uint8)
