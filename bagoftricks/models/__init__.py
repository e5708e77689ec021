"""Networks by their settings."""

import torch
from torch import nn

from bagoftricks.models.parts import Chosen, build
from bagoftricks.models.resnet import ResNet
from bagoftricks.settings import ModelSettings

SMALL_IMAGE = 64  # up to this many pixels, images keep their resolution in the stem


def build_model(spec: ModelSettings, chosen: Chosen, *, num_classes: int, image_size: int) -> nn.Module:
    """The network of ``spec`` with the tricks' parts, for images of ``image_size`` pixels, not yet initialised."""
    small = image_size <= SMALL_IMAGE if spec.stem == "auto" else spec.stem == "small"
    return build(lambda parts: ResNet(spec, num_classes, small=small, parts=parts), chosen, spec.name)


def place(model: nn.Module, device: torch.device, *, channels_last: bool) -> nn.Module:
    """Move a network to its device and memory format."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=memory_format)
