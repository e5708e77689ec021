"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bagoftricks.models.shapes import forward_shapes


def count_params(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_macs(model: nn.Module, image_size: int) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image: the papers' FLOPs.

    Shapes flow through ``model``: nothing is multiplied.
    """
    with FlopCounterMode(display=False) as counter:
        forward_shapes(model, image_size)
    return int(counter.get_total_flops()) // 2
