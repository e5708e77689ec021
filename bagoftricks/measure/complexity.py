"""Parameters and multiply-accumulates of a network, counted without training it."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.models.shapes import Watch, forward_shapes

OTHER_PRODUCTS = ("attention", "conv", "mm")  # parts of the names of operations that multiply matrices


def count_params(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, image_size: int) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image: the papers' FLOPs."""
    with ProductCounter() as counter:
        forward_shapes(model, image_size)
    macs: int = counter.macs
    if not counter.others:
        return macs
    from torch.utils.flop_counter import FlopCounterMode  # knows all operations; imports triton and torch's compiler

    with FlopCounterMode(display=False) as every:
        forward_shapes(model, image_size, "meta")  # on the CPU, some layers have one operation that does all
    return int(every.get_total_flops()) // 2


def _convolution(image: Tensor, kernel: Tensor, result: Tensor, *, transposed: bool) -> int:
    return len(image) * prod((image if transposed else result).shape[2:]) * kernel.numel()


_MACS: dict[Any, Callable[[tuple[Any, ...], Tensor], int]] = {  # arguments, result -> multiply-accumulates
    torch.ops.aten.mm: lambda given, made: made.numel() * given[0].shape[-1],
    torch.ops.aten.bmm: lambda given, made: made.numel() * given[0].shape[-1],
    torch.ops.aten.addmm: lambda given, made: made.numel() * given[1].shape[-1],
    torch.ops.aten.baddbmm: lambda given, made: made.numel() * given[1].shape[-1],
    torch.ops.aten.convolution: lambda given, made: _convolution(given[0], given[1], made, transposed=given[6]),
}


class ProductCounter(Watch):
    """Counter of multiply-accumulates; ``others`` names products that it cannot count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: int = 0
        self.others: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made, operation = func(*args, **(kwargs or {})), func.overloadpacket
        if count := _MACS.get(operation):
            self.macs += count(args, made)
        elif any(part in operation.__name__ for part in OTHER_PRODUCTS):
            self.others.add(operation.__name__)
        return made
