"""Networks by their settings."""

import torch
from torch import nn

from bagoftricks.models.channels import take_channels
from bagoftricks.models.depth import set_depths
from bagoftricks.models.parts import Chosen, Parts, build
from bagoftricks.settings import ModelSettings, TaskSettings

CLASSIFIER = TaskSettings()


def build_model(
    spec: ModelSettings,
    chosen: Chosen,
    *,
    num_classes: int,
    image_size: int,
    channels: int = 3,
    task: TaskSettings = CLASSIFIER,
) -> nn.Module:
    """Build the network of ``spec`` with the tricks' parts for a task, not yet initialised; ``image_size`` in pixels.

    Its modules know the depths of their parameters, for tricks that select by them.
    """

    def construct(parts: Parts) -> nn.Module:
        classifier = spec.build(num_classes, image_size=image_size, parts=parts)
        made: nn.Module = task.network(classifier, num_classes, image_size)
        return made

    model = build(construct, chosen, spec.name, channels)
    take_channels(model, channels, spec.name)
    return set_depths(model)


def to_device(model: nn.Module, device: torch.device, *, channels_last: bool) -> nn.Module:
    """Move a network to its device and memory format."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device).to(memory_format=memory_format)
