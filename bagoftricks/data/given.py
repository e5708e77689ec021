"""Images that a program hands over: paths, bytes of files, Pillow images, and arrays or tensors of bytes."""

import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bagoftricks.data.augment import Augment
from bagoftricks.data.decode import decode_pillow
from bagoftricks.data.decode_part import decode_part, whole
from bagoftricks.data.image_file import ImageFile, NoImage, image_format
from bagoftricks.errors import DataError, UserError

GivenImage: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | Image.Image | np.ndarray | Tensor"
IMAGE_FORMS = (
    "a path, the bytes of an image file, a Pillow image, or uint8 values: an array (H, W, 3) or a tensor (3, H, W)"
)


@dataclass(frozen=True)
class ContentsFile(ImageFile):
    """Image file whose bytes are in memory."""

    contents: bytes = b""

    def read(self) -> tuple[str, bytearray]:
        """Return the format and the bytes. Raises DataError unless they are of a format that is read."""
        with self.naming():
            return image_format(self.contents), bytearray(self.contents)

    def error(self, error: Exception) -> DataError:
        """Return the error of bytes that are no image."""
        return DataError(f"{self.path} cannot be read as an image ({error or type(error).__name__}): {self.advice}")


def given_square(image: GivenImage, augment: Augment, max_pixels: int) -> UInt8[Tensor, "3 S S"]:
    """Return an image as ``augment``, a preparation without randomness, shows it. Raises DataError or UserError."""
    file = _file(image, max_pixels)
    return augment.square_from(lambda wanted: decode_part(file, wanted) if file else whole(_pixels(image)), ())


def _file(image: GivenImage, max_pixels: int) -> ImageFile | None:
    advice = "leave it out"
    if isinstance(image, str | os.PathLike):
        if not os.path.exists(image):
            raise DataError(f"{os.fspath(image) or 'an image with an empty name'}: no such file")
        return ImageFile(os.fspath(image), max_pixels, advice)
    if isinstance(image, bytes | bytearray):
        return ContentsFile(f"an image of {len(image):,} bytes", max_pixels, advice, contents=bytes(image))
    return None


def _pixels(image: GivenImage) -> UInt8[Tensor, "3 H W"]:
    if isinstance(image, Image.Image):
        try:
            return decode_pillow(image)
        except (NoImage, OSError) as error:
            raise DataError(
                f"a Pillow image of mode {image.mode} cannot be read ({error}): convert it to RGB"
            ) from error
    if isinstance(image, np.ndarray):
        values = torch.from_numpy(np.ascontiguousarray(image))
        pixels = values[None] if values.ndim == 2 else values.permute(2, 0, 1) if values.ndim == 3 else values
    elif isinstance(image, Tensor):
        pixels = image[None] if image.ndim == 2 else image
    else:
        raise UserError(f"an image of the type {type(image).__name__}: give {IMAGE_FORMS}")
    if pixels.dtype is not torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        raise UserError(
            f"an image of shape {tuple(image.shape)} and type {image.dtype}: give {IMAGE_FORMS}, greys without 3"
        )
    return pixels.detach().cpu().expand(3, -1, -1).contiguous()
