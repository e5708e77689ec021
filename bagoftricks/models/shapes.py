"""Shapes of what flows through a network, without its numbers."""

from itertools import chain

import torch
from torch import nn
from torch.func import functional_call

from bagoftricks.models.channels import image_channels


@torch.no_grad()
def forward_shapes(model: nn.Module, image_size: int) -> None:
    """Let one image flow through ``model`` on the meta device, wherever it is, for a mode that watches the operations.

    The tensors are detached: a network that hands a parameter to a layer as its input is followed too.
    """
    training = model.training
    tensors = chain(model.named_parameters(), model.named_buffers())
    state = {name: tensor.detach().to("meta") for name, tensor in tensors}
    functional_call(
        model.eval(), state, (torch.empty(1, image_channels(model), image_size, image_size, device="meta"),)
    )
    model.train(training)
