"""Networks are built from parts: a trick chooses a constructor before anything is built, never edits a module."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from bagoftricks.edits import Part
from bagoftricks.errors import NoEffectError
from bagoftricks.layers import ConvShortcut, PlainStem, stride_on_1x1

Chosen = Mapping[Part, tuple[str, Callable[..., Any]]]  # part -> (trick, constructor)

BASELINE: dict[Part, Callable[..., Any]] = {
    Part.STEM: PlainStem,
    Part.SHORTCUT: ConvShortcut,
    Part.STRIDE: stride_on_1x1,
}


class Parts:
    """Constructors by part. Remembers which were asked for, so that a trick whose parts are never built is reported."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.used: set[Part] = set()

    def __getitem__(self, part: Part) -> Callable[..., Any]:
        self.used.add(part)
        return self.chosen[part][1] if part in self.chosen else BASELINE[part]

    def without_effect(self) -> dict[str, list[Part]]:
        """Tricks none of whose parts were built, with those parts."""
        idle: dict[str, list[Part]] = {}
        for part, (trick, _) in self.chosen.items():
            idle.setdefault(trick, []).append(part)
        return {trick: parts for trick, parts in idle.items() if not self.used.intersection(parts)}


def build(topology: Callable[[Parts], nn.Module], chosen: Chosen, name: str) -> nn.Module:
    """The network ``topology`` makes of the chosen parts. Raises NoEffectError for a trick it takes no part from."""
    parts = Parts(chosen)
    model = topology(parts)
    for trick, idle in parts.without_effect().items():
        raise NoEffectError(trick, f"{name} builds no {' or '.join(part.value for part in idle)}")
    return model
