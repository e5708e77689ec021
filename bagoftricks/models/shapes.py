"""Operations on what flows through a network, watched without its numbers."""

from inspect import unwrap
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from bagoftricks.models.channels import image_channels

SMALL_NETWORK = 2**28  # products that a processor has done before torch's compiler is imported


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode that watches operations without torch's compiler.

    torch keeps a mode's method out of compiled code, for which it imports its compiler: nothing watched is compiled.
    """

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)  # type: ignore[no-untyped-call]
        cls.__torch_dispatch__ = unwrap(cls.__torch_dispatch__)  # type: ignore[method-assign]


@torch.no_grad()
def forward_shapes(model: nn.Module, image_size: int, device: str | None = None) -> Any:
    """Let one image flow through ``model``, wherever it is, and return the output: its shape counts, not its values.

    On the meta device, where nothing is computed, torch imports its compiler, which takes a second: a small network
    computes on the CPU, with zeros, unless ``device`` is given. The zeros are no parameters: a network that hands a
    parameter to a layer as its input is followed too.
    """
    every_product = sum(p.numel() for p in model.parameters()) * image_size**2  # or fewer, where a layer has a stride
    device = device or ("cpu" if every_product <= SMALL_NETWORK else "meta")
    training = model.training
    tensors = chain(model.named_parameters(), model.named_buffers())
    state = {name: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device) for name, tensor in tensors}
    image = torch.zeros(1, image_channels(model), image_size, image_size, device=device)
    output = functional_call(model.eval(), state, (image,))
    model.train(training)
    return output
