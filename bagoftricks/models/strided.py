"""1x1 convolutions with a stride, which oneDNN computes out of bounds on a CPU.

If images or kernels are in channels_last, their gradient of the weights reads and writes past the end of memory, for
channels fewer than a vector register holds (8 with AVX2, 16 with AVX-512). The average of 1x1 windows with the same
stride keeps exactly the positions that such a convolution reads, and a 1x1 of stride 1 follows: the same products.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.module_tracker import ModuleTracker

from bagoftricks.models.shapes import Watch, forward_shapes

CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten._convolution.default)


@dataclass(frozen=True)
class Subsample:
    """Hook of a convolution that keeps every stride-th row and column of its input."""

    stride: tuple[int, ...]

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return F.avg_pool2d(inputs[0], 1, self.stride), *inputs[1:]


def make_safe(model: nn.Module, image_size: int) -> None:
    """Let ``model`` train on a CPU without strided 1x1 convolutions in channels_last, at the same results.

    Where another function than a convolution layer's calls them, the whole network computes channels first.
    """
    subsample_first(model)
    if strided_pointwise(model, image_size):
        channels_first(model)


def subsample_first(model: nn.Module) -> None:
    """Let each strided 1x1 of ``model`` subsample its input and convolve with stride 1. Parameters stay as they are."""
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.stride == (1, 1):
            continue
        if module.kernel_size == (1, 1) and module.padding == (0, 0):
            module.register_forward_pre_hook(Subsample(module.stride))
            module.stride = (1, 1)


def strided_pointwise(model: nn.Module, image_size: int) -> list[str]:
    """Return the places in ``model`` that call a strided 1x1 convolution, whoever calls it."""
    with ModuleTracker() as tracker, _Convolutions(tracker) as found:
        forward_shapes(model, image_size)
    return sorted(found.places)


def channels_first(model: nn.Module) -> None:
    """Let ``model`` compute in PyTorch's default memory format, whatever that of its images.

    A 1x1 kernel is contiguous in either format, and only its strides tell which: it is laid out again.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device).copy_(tensor.data)
    model.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))


class _Convolutions(Watch):
    """Record of the places of strided 1x1 convolutions."""

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracker, self.places = tracker, set[str]()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in CONVOLUTIONS and set(args[1].shape[2:]) == {1} and any(step > 1 for step in args[3]):
            self.places.add(max(self.tracker.parents - {"Global"}, key=len, default=""))
        return func(*args, **(kwargs or {}))
