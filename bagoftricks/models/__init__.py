"""Networks by their settings."""

from importlib import import_module

import torch
from torch import nn

from bagoftricks.models.parts import Chosen, build
from bagoftricks.settings import ModelSettings

NETWORKS = {  # kind -> module and constructor: (spec, num_classes, *, image_size, parts) -> Module
    "resnet": ("resnet", "ResNet"),
    "resnet9": ("resnet9", "ResNet9"),
    "cifarnet": ("cifarnet", "CifarNet"),
    "mobilenet_v1": ("mobilenet", "MobileNetV1"),
    "torchvision": ("external", "torchvision_network"),
    "timm": ("external", "timm_network"),
}


def build_model(spec: ModelSettings, chosen: Chosen, *, num_classes: int, image_size: int) -> nn.Module:
    """The network of ``spec`` with the tricks' parts, for images of ``image_size`` pixels, not yet initialised."""
    module, name = NETWORKS[spec.kind]
    network = getattr(import_module(f"bagoftricks.models.{module}"), name)
    return build(lambda parts: network(spec, num_classes, image_size=image_size, parts=parts), chosen, spec.name)


def to_device(model: nn.Module, device: torch.device, *, channels_last: bool) -> nn.Module:
    """Move a network to its device and memory format."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=memory_format)
