"""JPEG, as a corruption and as the storage of ImageNet-C: libjpeg-turbo, chroma at half resolution."""

from io import BytesIO

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from bagoftricks.data.decode import decode_jpeg_code

STORED_QUALITY = 85  # JPEG quality of the published ImageNet-C; CIFAR-10-C was stored without loss


def resave_as_jpeg(images: UInt8[Tensor, "B 3 H W"], quality: int = STORED_QUALITY) -> UInt8[Tensor, "B 3 H W"]:
    """Compress images with ``quality`` (4:2:0) and decode them, as the published ImageNet-C was stored.

    PIL writes them (its encoder is faster), torchvision reads them; both use libjpeg-turbo on the host. Images on
    another device are copied there and back.
    """
    result = torch.empty(images.shape, dtype=torch.uint8)
    for index, planes in enumerate(images.cpu().numpy()):
        file = BytesIO()
        # PIL interleaves three planes five times as fast as a tensor's permutation is copied.
        Image.merge("RGB", [Image.fromarray(plane) for plane in planes]).save(file, "JPEG", quality=quality)
        code = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
        result[index] = decode_jpeg_code(code)
    return result.to(images.device)
