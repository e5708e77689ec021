"""ImageMagick's motion blur, for photographs and for snow."""

from collections.abc import Callable
from math import cos, radians, sin

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FloatImages = Float[Tensor, "n c h w"]
Padded = Float[Tensor, "n c padded_h padded_w"]
Offsets = list[list[list[int]]]  # (y, x) of each image's taps
SMALL_PIXELS = 64 * 64  # pixels below which PyTorch's calls cost more than their sums


def drag(values: FloatImages, angles: npt.NDArray[np.float64], radius: int, sigma: float) -> FloatImages:
    """Smear ``values`` along ``angles`` (degrees, one for each image): one-sided Gaussian, border pixels repeated.

    Tap i lies at the whole offset next to (i cos, i sin) and weighs exp(-i^2 / 2 sigma^2), normalised.
    """
    count = 2 * radius + 1
    weights = np.exp(-(np.arange(count) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    y, x = (_offsets(count, angles, along) for along in (sin, cos))
    up, left = max(0, -y.min()), max(0, -x.min())
    padded = F.pad(values, (left, max(0, x.max()), up, max(0, y.max())), mode="replicate")
    offsets = np.stack([y + up, x + left], -1).tolist()
    on_cpu = _add_small if values.shape[-2] * values.shape[-1] <= SMALL_PIXELS else _add_slices
    add = on_cpu if values.device.type == "cpu" else _add_gathered
    return add(padded, values, offsets, weights.tolist())


def _offsets(count: int, angles: npt.NDArray[np.float64], along: Callable[[float], float]) -> npt.NDArray[np.int64]:
    """Return the offsets of each image's taps along one axis, in whole pixels."""
    steps = np.array([along(radians(angle)) for angle in angles.tolist()])
    offsets: npt.NDArray[np.int64] = np.ceil(steps[:, None] * np.arange(count) - 0.5).astype(np.int64)
    return offsets


def _add_slices(padded: Padded, values: FloatImages, offsets: Offsets, weights: list[float]) -> FloatImages:
    """Add image by image: each tap is one slice of the padded image."""
    height, width = values.shape[-2:]
    result = torch.zeros_like(values)
    for image, total, line in zip(padded, result, offsets, strict=True):
        for (y, x), weight in zip(line, weights, strict=True):
            total.add_(image[:, y : y + height, x : x + width], alpha=weight)
    return result


def _add_small(padded: Padded, values: FloatImages, offsets: Offsets, weights: list[float]) -> FloatImages:
    """Add as ``_add_slices`` does, in NumPy."""
    height, width = values.shape[-2:]
    result = np.zeros(values.shape, np.float32)
    part = np.empty(values.shape[1:], np.float32)
    factors = [np.float32(weight) for weight in weights]
    for image, total, line in zip(padded.numpy(), result, offsets, strict=True):
        for (y, x), factor in zip(line, factors, strict=True):
            np.multiply(image[:, y : y + height, x : x + width], factor, out=part)
            total += part
    return torch.from_numpy(result)


def _add_gathered(padded: Padded, values: FloatImages, offsets: Offsets, weights: list[float]) -> FloatImages:
    """Add all images together, tap by tap: few launches on an accelerator."""
    height, width = values.shape[-2:]
    across = padded.shape[-1]
    flat = padded.flatten(2)
    where = (torch.arange(height)[:, None] * across + torch.arange(width)).view(1, 1, -1).to(padded.device)
    starts = torch.tensor([[y * across + x for y, x in line] for line in offsets]).to(padded.device, non_blocking=True)
    result = torch.zeros_like(values).flatten(2)
    for tap, weight in enumerate(weights):
        index = (where + starts[:, tap, None, None]).expand(result.shape)
        result.add_(flat.gather(2, index), alpha=weight)
    return result.view(values.shape)
