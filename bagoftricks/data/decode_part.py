"""The part of an image that is looked at, decoded alone: a box at a reduced scale, or the rows down to its end.

A JPEG's rows come one after another, and nothing says where one begins: those above a box must be read, those below
need not be. libjpeg-turbo ends at the height that the header tells, so a smaller one is written there. What is left of
the file is then surplus, and libjpeg warns of it: torchvision would print each of these warnings, simplejpeg does not.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bagoftricks.data.decode import checked_header, decode_bytes, opened, orientation
from bagoftricks.data.image_file import ImageFile, JpegHeader, NoImage

SCALES = (8, 4)  # by which libjpeg divides a JPEG's sides as it decodes; at 2, Pillow gains nothing on torchvision
SEQUENTIAL = (0xC0, 0xC1)  # frames whose rows come one after another; those of progressive ones come in passes
END = b"\xff\xd9"  # of a JPEG: one without it was cut short, and the usual decoder says so
SURPLUS = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd[0-79]")  # up to a restart, or the end
MARGIN = 1  # row below the last one that its colours are interpolated with
Box: TypeAlias = tuple[float, float, float, float]  # top, left, height and width in pixels, not always whole ones


@dataclass(frozen=True)
class Wanted:
    """Box of an image, of any height and width, that will be looked at."""

    box: Callable[[int, int], Box]
    scaled_to: int = 0  # side that it is resized to, where it may be decoded at a reduced scale
    upper: bool = True  # at its full scale, no rows below it are needed


class Decoded(NamedTuple):
    """An image or its upper rows, with the height of the whole; or, of height 0, its box that was resized."""

    pixels: UInt8[Tensor, "C H W"]
    height: int


def whole(image: UInt8[Tensor, "C H W"]) -> Decoded:
    return Decoded(image, image.shape[1])


def decode_part(file: ImageFile, wanted: Wanted) -> Decoded:
    """Return what is wanted of an image file, or all of it. Raises DataError as ``decode`` does."""
    name, data = file.read()
    with file.naming():
        if (header := _upright_header(file, name, data)) is not None:
            box = wanted.box(header.height, header.width)
            if (square := _scaled(file, data, header, box, wanted.scaled_to)) is not None:
                return Decoded(square, 0)
            if wanted.upper and (rows := upper_rows(data, header, math.ceil(box[0] + box[2]))) is not None:
                return Decoded(rows, header.height)
    return whole(decode_bytes(file, data))


def decode_scaled(file: ImageFile, wanted: Wanted) -> UInt8[Tensor, "3 S S"] | None:
    """Return the box that is wanted of a JPEG, resized, decoded at a reduced scale; None if that saves nothing."""
    name, data = file.read()
    with file.naming():
        if (header := _upright_header(file, name, data)) is None:
            return None
        return _scaled(file, data, header, wanted.box(header.height, header.width), wanted.scaled_to)


@cache
def row_decoder() -> Callable[..., npt.NDArray[np.uint8]] | None:
    """Return simplejpeg's decoder, None where it is not installed."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    decode: Callable[..., npt.NDArray[np.uint8]] = decode_jpeg
    return decode


def upper_rows(data: bytearray, header: JpegHeader, rows: int) -> UInt8[Tensor, "3 _ W"] | None:
    """Return at least the first ``rows`` of a JPEG, with the bytes of a whole decoding.

    None, and the usual decoder's turn, without rows to spare or simplejpeg; for other kinds of JPEG and broken ones.
    """
    decode_jpeg, rows = row_decoder(), rows + MARGIN
    if decode_jpeg is None or not 0 < rows < header.height or header.channels == 4:
        return None
    if data[header.frame + 1] not in SEQUENTIAL or data.rfind(END, header.scan) < 0:
        return None
    height = slice(header.frame + 5, header.frame + 7)
    data[height] = rows.to_bytes(2, "big")
    pixels = np.empty((rows, header.width, 3), np.uint8)
    try:
        decode_jpeg(data, buffer=pixels)
    except ValueError as error:  # the first warning, or what ended the decoding
        if not SURPLUS.fullmatch(str(error)):
            return None
    finally:
        data[height] = header.height.to_bytes(2, "big")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright_header(file: ImageFile, name: str, data: bytearray) -> JpegHeader | None:
    """Return the header of a JPEG that need not be turned, None of any other image."""
    header = checked_header(file, data) if name == "JPEG" else None
    return header if header is not None and header.height and orientation(header.exif) == 1 else None


def _scaled(file: ImageFile, data: bytearray, header: JpegHeader, box: Box, size: int) -> UInt8[Tensor, "3 S S"] | None:
    """Resize a box to S x S at the smallest of libjpeg's scales that leaves it S pixels.

    Both the decoder's scaling and the resizing after it (bilinear, antialiased) average what they drop. None: only a
    scale that saves nothing has the pixels, or Pillow cannot read the file, which the usual decoder may.
    """
    top, left, tall, wide = box
    by = next((scale for scale in SCALES if size and min(tall, wide) >= scale * size), 1)
    if by == 1:
        return None
    with suppress(NoImage), opened(file, "JPEG", data) as image:
        drafted = image.draft("RGB", (header.width // by, header.height // by))
        if drafted is None:
            return None
        by = round(header.width / drafted[1][2])
        part = (left / by, top / by, (left + wide) / by, (top + tall) / by)
        made = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, part)
        return torch.from_numpy(np.array(made)).permute(2, 0, 1)
    return None
