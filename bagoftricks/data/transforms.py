"""Preparation of one image, or of a batch of equal size. Random numbers come in as arguments, uniform in [0, 1).

Shapes: B batch, H height, W width, S the side the network sees. Images are uint8 RGB.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from bagoftricks.settings import MAX_PIXELS

Image = UInt8[Tensor, "_ _ _"]
PLANES = 3  # channels of colours; a fourth one has a class for each pixel
LONGEST_STRIP = 64  # times its width, of which the middle is cut out before it is resized to too many pixels
AREA_DRAWS = 4 * 10  # area, shape, top and left for each of ten attempts
STRETCH_DRAWS = 3  # whether the whole image is shown, top and left

# PCA of ImageNet's pixels in 0..255, as in MXNet: standard deviations, and the axes as columns (rows R, G, B).
PCA_SCALES = torch.tensor([55.46, 4.794, 1.148])
PCA_AXES = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def by_planes(image: Image, make: Callable[[Image, str], Image]) -> Image:
    """Return what ``make`` makes of the colours, and of a fourth channel of classes, which never blend."""
    if len(image) <= PLANES:
        return make(image, "bilinear")
    return torch.cat([make(image[:PLANES], "bilinear"), make(image[PLANES:], "nearest-exact")])


def fit(image: Image, size: int, short_side: int) -> UInt8[Tensor, "C S S"]:
    """Resize the short side, keeping the shape, then cut the centre."""
    if image.shape[1:] == (size, size) and short_side == size:
        return image
    return by_planes(image, lambda planes, mode: _fit(planes, size, short_side, mode))


def _fit(image: Image, size: int, short_side: int, mode: str) -> Image:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as tv  # takes as long to import as torch

    height, width = image.shape[1:]
    if math.prod(_fitted(height, width, short_side)) > MAX_PIXELS:  # a strip, of which the middle is seen
        top, left = (max(side - LONGEST_STRIP * min(height, width), 0) // 2 for side in (height, width))
        image = image[:, top : height - top, left : width - left]
        height, width = image.shape[1:]
    if short_side != min(height, width):
        image = tv.resize(image, _fitted(height, width, short_side), InterpolationMode(mode), antialias=True)
    return image if image.shape[1:] == (size, size) else tv.center_crop(image, [size, size])


def letterbox(image: Image, size: int) -> UInt8[Tensor, "C S S"]:
    """Resize the longer side to ``size``, keeping the shape, at the upper left; the rest is black, without classes."""
    height, width = image.shape[1:]
    if (height, width) == (size, size):
        return image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    sides = [max(1, round(side * size / max(height, width))) for side in (height, width)]
    made = by_planes(image, lambda planes, mode: tv.resize(planes, sides, InterpolationMode(mode), antialias=True))
    return F.pad(made, (0, size - sides[1], 0, size - sides[0]))


def moved_boxes(
    boxes: Float[Tensor, "B M 5"], size: int, offset: Int64[Tensor, "B 2"], flipped: Bool[Tensor, " B"]
) -> Float[Tensor, "B M 5"]:
    """Return boxes in pixels of images of ``size``, moved by (down, right), then mirrored; class -1 if outside."""
    top_left = offset.flip(1)  # (x, y)
    moved = boxes[..., :4] * size + torch.cat([top_left, top_left], 1)[:, None]
    moved = moved.clamp(0, size)
    left, top, right, bottom = moved.unbind(2)
    left, right = (torch.where(flipped[:, None], size - a, b) for a, b in ((right, left), (left, right)))
    gone = (right - left < 1) | (bottom - top < 1)
    return torch.stack([left, top, right, bottom, boxes[..., 4].masked_fill(gone, -1)], 2)


def fit_box(height: int, width: int, size: int, short_side: int) -> tuple[float, float, float, float]:
    """(top, left, height, width) of what ``fit`` shows of an image, in the image's own pixels."""
    tall, wide = _fitted(height, width, short_side)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    return top * height / tall, left * width / wide, size * height / tall, size * width / wide


def _fitted(height: int, width: int, short_side: int) -> list[int]:
    scale = short_side / min(height, width)
    return [max(short_side, round(height * scale)), max(short_side, round(width * scale))]


def validation_side(size: int) -> int:
    """Return the short side before the centre crop: S / 0.875 (256 for 224)."""
    return math.ceil(size / 0.875)


def validation_crop(image: Image, size: int, short_side: int | None = None) -> UInt8[Tensor, "C S S"]:
    """Short side to ``short_side``, or to S / 0.875 (256 for 224); centre crop of S."""
    return fit(image, size, validation_side(size) if short_side is None else short_side)


def resized_box(image: Image, box: tuple[int, int, int, int], size: int) -> UInt8[Tensor, "C S S"]:
    """Cut (top, left, height, width) out of an image and resize it to S x S."""
    return by_planes(image, lambda planes, mode: _resized_box(planes, box, size, mode))


def _resized_box(image: Image, box: tuple[int, int, int, int], size: int, mode: str) -> Image:
    top, left, height, width = box
    if mode != "bilinear":
        return F.interpolate(image[:, top : top + height, left : left + width][None], (size, size), mode=mode)[0]
    if image.device.type != "cpu":
        from torchvision.transforms.v2 import functional as tv

        return tv.resized_crop(image, top, left, height, width, [size, size], antialias=True)  # type: ignore[no-any-return]
    # Rows of whole pixels, with the strides of a batch of one: what PyTorch resizes without turning it round.
    cut = image[:, top : top + height, left : left + width].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    one = cut.as_strided((1, *cut.shape), (cut.numel(), *cut.stride()))
    return F.interpolate(one, (size, size), mode="bilinear", align_corners=False, antialias=True)[0]


def area_crop_box(
    draws: Sequence[float], height: int, width: int, area: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Random-resized crop: (top, left, height, width) of the first of ten boxes that fits, else of a centred one.

    A box has a share of the area in ``area``, and an aspect ratio log-uniform in [3/4, 4/3].
    """
    low, high = math.log(3 / 4), math.log(4 / 3)
    for u_area, u_shape, u_top, u_left in zip(*(iter(draws),) * 4, strict=True):
        pixels = height * width * (area[0] + (area[1] - area[0]) * u_area)
        ratio = math.exp(low + (high - low) * u_shape)
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(u_top * (height - h + 1)), int(u_left * (width - w + 1)), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def stretch_window(draws: Sequence[float], size: int) -> tuple[int, int, int]:
    """(side, top, left): both sides of an image are resized to ``side``, and a window of ``size`` is cut out.

    With probability 1/2 that is the whole image, else a random part of S / 0.875 (the retrieval of Lee et al. 2020).
    """
    if draws[0] < 0.5:
        return size, 0, 0
    side = validation_side(size)
    top, left = (int(draw * (side - size + 1)) for draw in draws[1:STRETCH_DRAWS])
    return side, top, left


def stretched(image: Image, window: tuple[int, int, int], size: int) -> UInt8[Tensor, "C S S"]:
    """Resize an image to a square of ``window``'s side without keeping its shape, and cut its window out."""
    side, top, left = window
    whole = resized_box(image, (0, 0, image.shape[1], image.shape[2]), side)
    return whole[:, top : top + size, left : left + size]


def pad_crop(
    images: UInt8[Tensor, "B C H W"], pad: int, draws: Float[Tensor, "B 2"], *, reflect: bool = False
) -> UInt8[Tensor, "B C H W"]:
    """Pad with zeros, or with the mirrored border, and cut a window of the old size out of each image at random."""
    batch, channels, height, width = images.shape
    top, left = (draws * (2 * pad + 1)).long().unbind(1)
    padded = F.pad(images, (pad,) * 4)
    if reflect:
        mirror_border(padded, pad)
    per_image, channel, row, pixel = padded.stride()
    # Every window of the whole batch lies in memory already: a view of them all, one beginning at each pixel.
    first = (torch.arange(batch, device=images.device) * per_image + top * row + left * pixel) // pixel
    last = ((batch - 1) * per_image + 2 * pad * (row + pixel)) // pixel
    return pick(padded.as_strided((last + 1, channels, height, width), (pixel, channel, row, pixel)), first)


def mirror_border(padded: UInt8[Tensor, "B C P Q"], pad: int) -> None:
    """Fill the padding with the image mirrored at its outermost pixels, in place (F.pad reflects no bytes on a CPU)."""
    for dim in (2, 3):  # the columns, corners included, after the rows
        last = padded.shape[dim] - pad - 1
        padded.narrow(dim, 0, pad).copy_(padded.narrow(dim, pad + 1, pad).flip(dim))
        padded.narrow(dim, last + 1, pad).copy_(padded.narrow(dim, last - pad, pad).flip(dim))


def mirror(images: UInt8[Tensor, "B C H W"], draws: Float[Tensor, "B 1"]) -> UInt8[Tensor, "B C H W"]:
    """Flip the images whose draw is below 1/2 left to right."""
    batch = len(images)
    which = torch.arange(batch, device=images.device) + batch * (draws[:, 0] < 0.5)
    return pick(torch.cat([images, images.flip(3)]), which)


def pick(images: UInt8[Tensor, "N C H W"], rows: Int64[Tensor, " B"]) -> UInt8[Tensor, "B C H W"]:
    """``images[rows]`` in their memory format, whole rows of memory at a time."""
    if images.stride(1) == 1:  # index_select would turn channels_last round, an element at a time
        return images.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return images.index_select(0, rows)


def jitter_hsv(
    images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B 3"], strength: float
) -> UInt8[Tensor, "B 3 H W"]:
    """Scale hue, saturation and brightness, each by its own factor in [1 - s, 1 + s] (He et al. 2019, section 2.1)."""
    factors = (1 + strength * (2 * draws - 1))[..., None, None]
    hue, saturation, value = rgb_to_hsv(images.contiguous().float() / 255).mul(factors).unbind(1)
    scaled = torch.stack([hue.remainder(1), saturation.clamp(max=1), value.clamp(max=1)], 1)
    return hsv_to_rgb(scaled).mul(255).round().to(torch.uint8)


def jitter_bcs(
    images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B 6"], strength: float
) -> UInt8[Tensor, "B 3 H W"]:
    """Brightness, contrast and saturation in random order, as in the released code of Bag of Tricks.

    Each is a blend with another image: with black, with the mean of the greys, with the greys. As in torchvision, the
    greys and every result are cut to integers; the sums are rounded once, so that no batch size changes a bit.
    """
    factors = 1 + strength * (2 * draws[:, :3] - 1)
    mixed = images.contiguous().float()
    for which in draws[:, 3:].argsort(dim=1, stable=True).unbind(1):
        red, green, blue = mixed.chunk(3, 1)
        grey = (2989 * red + 5870 * green + 1140 * blue).div(10000).floor()  # exact up to the division
        kind = which.view(-1, 1, 1, 1)
        other = torch.where(kind == 1, grey.mean((1, 2, 3), keepdim=True), grey) * (kind > 0)
        factor = factors.gather(1, which[:, None])[..., None, None]
        rest = other.double() * (1 - factor.double()).float()
        mixed = ((mixed * factor).double() + rest).float().clamp(0, 255).floor()
    return mixed.to(torch.uint8)


def rgb_to_hsv(rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Hue, saturation and value in [0, 1]."""
    red, green, blue = rgb.unbind(1)
    value, which = rgb.max(1)
    chroma = value - rgb.amin(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.stack([(green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4], 1)
    hue = sixths.gather(1, which[:, None])[:, 0].div(6).remainder(1)
    return torch.stack([hue, chroma / torch.where(value > 0, value, 1.0), value], 1)


def hsv_to_rgb(hsv: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    hue, saturation, value = (plane[:, None] for plane in hsv.unbind(1))
    k = (torch.arange(5.0, 0, -2, device=hsv.device).view(3, 1, 1) + hue * 6) % 6
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def pca_noise(draws: Float[Tensor, "B 3"], std: float) -> Float[Tensor, "B 3"]:
    """Return a colour shift in 0..255 for each image, along ImageNet's principal axes (Krizhevsky et al. 2012)."""
    coefficients = std * torch.special.ndtri(draws.clamp(1e-7, 1 - 1e-7))
    along = (coefficients * PCA_SCALES)[:, None] * PCA_AXES
    shift: Tensor = along[..., 0] + along[..., 1] + along[..., 2]  # a matrix product rounds by the number of images
    return shift
