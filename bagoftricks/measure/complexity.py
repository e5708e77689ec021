"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, image_size: int) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image: the papers' FLOPs.

    Shapes flow through ``model`` on the meta device, wherever it is: nothing is multiplied.
    """
    model.eval()
    state = {
        name: tensor.detach().to("meta") for name, tensor in chain(model.named_parameters(), model.named_buffers())
    }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, state, (torch.empty(1, 3, image_size, image_size, device="meta"),))
    return int(counter.get_total_flops()) // 2
