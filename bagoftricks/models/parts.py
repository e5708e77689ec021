"""Networks are built from parts: a trick chooses a constructor before anything is built, never edits a module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from bagoftricks.errors import NoEffectError
from bagoftricks.models.layers import ConvShortcut, GlobalAverage, PlainStem, PooledConv, conv3, stride_on_1x1
from bagoftricks.models.layout import plain_layout
from bagoftricks.recipe.edits import CHAINED, Part

# part -> (trick, or None where no trick needs the part to be built, and constructor), several if chained
Chosen = Mapping[Part, Sequence[tuple[str | None, Callable[..., Any]]]]

BASELINE_PARTS: dict[Part, Callable[..., Any]] = {
    Part.STEM: PlainStem,
    Part.MAX_POOL: lambda channels, site: nn.MaxPool2d(3, 2, 1),
    Part.LAYOUT: plain_layout,
    Part.SHORTCUT: ConvShortcut,
    Part.STRIDE: stride_on_1x1,
    Part.CONV3: conv3,
    Part.DOWN: lambda channels, stride, site: None,
    Part.GATE: lambda channels, site: nn.Identity(),
    Part.NORM: nn.BatchNorm2d,
    Part.ACT: lambda: nn.ReLU(inplace=True),
    Part.DROP: lambda channels, site: nn.Identity(),
    Part.BRANCH: lambda site: nn.Identity(),
    Part.POOLED_CONV: PooledConv,
    Part.HEAD_POOL: GlobalAverage,
    Part.HEAD_DROP: lambda site: nn.Identity(),
    Part.LOGIT_SCALE: lambda scale: scale,
}


class Parts:
    """Constructors by part, and the channels of the images.

    Remembers which parts were asked for, so that a trick whose parts are never built is reported.
    """

    def __init__(self, chosen: Chosen, channels: int = 3) -> None:
        self.chosen, self.channels = chosen, channels
        self.used: set[Part] = set()

    def __getitem__(self, part: Part) -> Callable[..., Any]:
        self.used.add(part)
        builders = [build for _, build in self.chosen.get(part, ())]
        if not builders:
            return BASELINE_PARTS[part]
        if len(builders) == 1:
            return builders[0]
        assert part in CHAINED
        return lambda *args: nn.Sequential(*(build(*args) for build in builders))

    def without_effect(self) -> dict[str, list[Part]]:
        """Tricks none of whose parts were built, with those parts."""
        idle: dict[str, list[Part]] = {}
        for part, claims in self.chosen.items():
            for trick in [trick for trick, _ in claims if trick is not None]:
                idle.setdefault(trick, []).append(part)
        return {trick: parts for trick, parts in idle.items() if not self.used.intersection(parts)}


def build(topology: Callable[[Parts], nn.Module], chosen: Chosen, name: str, channels: int = 3) -> nn.Module:
    """Return the network that ``topology`` makes of the parts. Raises NoEffectError for a trick without a part."""
    parts = Parts(chosen, channels)
    model = topology(parts)
    scale_logits(model, parts)
    for trick, idle in parts.without_effect().items():
        raise NoEffectError(trick, f"{name} builds no {' or '.join(part.value for part in idle)}")
    return model


def scale_logits(model: nn.Module, parts: Parts) -> None:
    """Multiply the output of the last linear layer by a chosen logit scale, in a network without one of its own."""
    needed = any(trick is not None for trick, _ in parts.chosen.get(Part.LOGIT_SCALE, ()))
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if needed and linear and Part.LOGIT_SCALE not in parts.used:
        scale = parts[Part.LOGIT_SCALE](1.0)
        linear[-1].register_forward_hook(lambda head, features, logits: logits * scale)
