"""ImageMagick's motion blur, for photographs and for snow."""

from math import ceil, cos, radians, sin

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Values = Float[Tensor, "n c h w"]
Padded = Float[Tensor, "n c padded_h padded_w"]
Offsets = list[list[tuple[int, int]]]


def drag(values: Values, angles: npt.NDArray[np.float64], radius: int, sigma: float) -> Values:
    """``values`` smeared along ``angles`` (degrees, one for each image): one-sided Gaussian, border pixels repeated.

    Tap i lies at the whole offset next to (i cos, i sin) and weighs exp(-i^2 / 2 sigma^2), normalised.
    """
    count = 2 * radius + 1
    weights = np.exp(-(np.arange(count) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    offsets = [[_offset(tap, angle) for tap in range(count)] for angle in angles.tolist()]
    up, down = (max(0, max(side * y for line in offsets for y, _ in line)) for side in (-1, 1))
    left, right = (max(0, max(side * x for line in offsets for _, x in line)) for side in (-1, 1))
    padded = F.pad(values, (left, right, up, down), mode="replicate")
    add = _add_slices if values.device.type == "cpu" else _add_gathered
    return add(padded, values, [[(y + up, x + left) for y, x in line] for line in offsets], weights.tolist())


def _offset(tap: int, angle: float) -> tuple[int, int]:
    return ceil(tap * sin(radians(angle)) - 0.5), ceil(tap * cos(radians(angle)) - 0.5)


def _add_slices(padded: Padded, values: Values, offsets: Offsets, weights: list[float]) -> Values:
    """Image by image: each tap is one slice of the padded image."""
    height, width = values.shape[-2:]
    result = torch.zeros_like(values)
    for image, total, line in zip(padded, result, offsets, strict=True):
        for (y, x), weight in zip(line, weights, strict=True):
            total.add_(image[:, y : y + height, x : x + width], alpha=weight)
    return result


def _add_gathered(padded: Padded, values: Values, offsets: Offsets, weights: list[float]) -> Values:
    """All images together, tap by tap: few launches on an accelerator."""
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
