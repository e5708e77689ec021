"""Parameters and multiply-accumulates of a network, counted without computing anything."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, image_size: int) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image: what the papers call FLOPs.

    ``model`` should be on the meta device, where shapes flow and nothing is multiplied.
    """
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, image_size, image_size, device=device))
    return int(counter.get_total_flops()) // 2
