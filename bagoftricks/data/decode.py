"""Image files to tensors."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file

from bagoftricks.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}


def decode(path: str | Path) -> UInt8[Tensor, "3 H W"]:
    """The RGB pixels of an image file, whatever its colour space. Raises DataError for a file that is no image.

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
    except (OSError, SyntaxError, ValueError) as error:
        reason = str(error).replace(f"'{path}'", "it").partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as an image ({reason}): remove it, or set data.on_error=skip"
        ) from error
