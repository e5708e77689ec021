"""What the corruptions share: the type of a chunk of images and the one conversion back to bytes."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Bytes = UInt8[Tensor, "n 3 h w"]


def truncate(values: Float[Tensor, "n 3 h w"]) -> Bytes:
    """Values in grey levels, clipped and cut (not rounded) to bytes, as the definition does. Overwrites ``values``."""
    return values.clamp_(0, 255).to(torch.uint8)
