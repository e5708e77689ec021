"""Image files to tensors: whole, a box of them at a reduced scale, or many on a GPU."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, decode_jpeg, read_file

from bagoftricks.errors import DataError, VanishedError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
SCALES = (8, 4, 2)  # by which libjpeg divides a JPEG's sides as it decodes: the pixels in between are never made
UNREADABLE = (OSError, RuntimeError, SyntaxError, ValueError)
Box: TypeAlias = tuple[float, float, float, float]  # top, left, height and width in pixels, not always whole ones


def decode(path: str | Path) -> UInt8[Tensor, "3 H W"]:
    """Return the RGB pixels of an image file of any colour space. Raises DataError for a file that is no image.

    libjpeg-turbo and libpng through torchvision; what they refuse goes through Pillow.
    """
    try:
        image: Tensor = decode_image(read_file(str(path)), ImageReadMode.RGB)
        if image.dtype is torch.uint8:
            return image
    except RuntimeError:
        pass
    try:
        with Image.open(path) as opened:
            return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1).contiguous()
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def decode_scaled(path: str | Path, box_of: Callable[[int, int], Box], size: int) -> UInt8[Tensor, "3 S S"] | None:
    """Resize a box of a JPEG to S x S, decoded at the smallest of libjpeg's scales that leaves the box S pixels.

    ``box_of`` gives the box from the image's height and width, which the header tells. Both the decoder's scaling and
    the resizing after it (bilinear, antialiased) average what they drop. None: only the full scale has the pixels, or
    the file is no JPEG.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            top, left, tall, wide = box_of(height, width)
            by = next((scale for scale in SCALES if min(tall, wide) >= scale * size), 1)
            drafted = opened.draft("RGB", (width // by, height // by)) if by > 1 else None
            if drafted is None:
                return None
            by = round(width / drafted[1][2])
            box = (left / by, top / by, (left + wide) / by, (top + tall) / by)
            made = opened.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
            return torch.from_numpy(np.array(made)).permute(2, 0, 1)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def read_bytes(path: str | Path) -> UInt8[Tensor, " n"]:
    try:
        data: Tensor = read_file(str(path))
    except RuntimeError as error:
        raise unreadable(path, error) from error
    return data


def decode_on(device: torch.device, files: Sequence[tuple[str, Tensor]]) -> list[Tensor | DataError]:
    """Image files, (path, bytes) each, decoded to ``device``: JPEGs by nvJPEG where that is a GPU, others before.

    Broken ones are returned, not raised.
    """
    try:
        return decode_jpeg([data for _, data in files], ImageReadMode.RGB, device=device)  # type: ignore[no-any-return]
    except RuntimeError:  # one of them is broken, of a kind that nvJPEG does not know, or no JPEG
        return [_decode_one_on(device, path, data) for path, data in files]


def _decode_one_on(device: torch.device, path: str, data: Tensor) -> Tensor | DataError:
    try:
        return decode_jpeg(data, ImageReadMode.RGB, device=device)  # type: ignore[no-any-return]
    except RuntimeError:
        try:
            return decode(path).to(device)
        except DataError as error:
            return error


def unreadable(path: str | Path, error: Exception) -> DataError:
    """Return the error of a file that is no image, or that was removed after its folder was listed."""
    if not os.path.exists(path):
        return VanishedError(f"{path} has vanished since the run began: is the folder still there, and its disk?")
    reason = str(error).replace(f"'{path}'", "it").partition("\n")[0]
    return DataError(f"{path} cannot be read as an image ({reason}): remove it, or set data.on_error=skip")
