"""The contract of a trick: a dataclass of hyper-parameters that returns the edits they mean."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import dataclass_transform

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.recipe.edits import Edit
from bagoftricks.rng import Noise

T = TypeVar("T", bound=type[Any])
DURATION = r"(\d+(?:\.\d+)?) ?(epochs?|steps?|%)"


@dataclass(frozen=True, slots=True)
class Task:
    """Facts a trick may read. Only two change during a run: ``clock``, the training progress in [0, 1), which lies on
    the CPU, and ``noise``, the draws of layers that drop something.
    """

    num_classes: int
    batch_size: int  # images in one update, over all devices
    steps_per_epoch: int
    total_steps: int
    clock: Tensor = field(default_factory=lambda: torch.zeros(()))
    noise: Noise = field(default_factory=Noise)


@runtime_checkable
class Trick(Protocol):
    """What ``compose`` asks of a trick."""

    def edits(self, task: Task) -> Iterable[Edit]: ...


@dataclass_transform(kw_only_default=True)
def trick(
    *, paper: str, warns: Mapping[str, str] | None = None, overlaps: str = "", overlaps_if: str = ""
) -> Callable[[T], T]:
    """Make a class of hyper-parameters a trick: a slotted, keyword-only dataclass that cites its source.

    ``warns`` names other tricks that it goes with but should not, and says why (a literal: the card shows it).
    ``overlaps`` says how it trains for corruptions that robustness is measured on; a table marks such rows.
    ``overlaps_if`` names the hyper-parameter without which it does not.

    The class lives in ``tricks/<family>/<name>.py``. Its fields need literal defaults and a docstring each: the
    command line reads its schema and its help from the source, without importing torch (``catalogue``).
    """

    def register(cls: T) -> T:
        made = dataclass(kw_only=True, slots=True)(cls)
        made.paper, made.warns, made.overlaps, made.overlaps_if = paper, dict(warns or {}), overlaps, overlaps_if
        return made  # type: ignore[return-value]

    return register


def duration(trick: Trick, field_name: str, task: Task, *, least: int = 0) -> int:
    """Steps of a length written as ``5 epochs``, ``500 steps`` or ``10 %`` (of the run); the space may be left out.

    With ``least`` above 0, a length of nothing is refused and a shorter one than ``least`` steps counts as so many.
    """
    match = re.fullmatch(DURATION, getattr(trick, field_name))
    require(trick, field_name, match is not None, "as '5 epochs', '500 steps' or '10%'")
    assert match is not None
    length = _steps(match[1], match[2], task)
    require(trick, field_name, length > 0 or not least, "longer than 0")
    return max(least, round(length))


def moments(trick: Trick, field_name: str, task: Task) -> list[float]:
    """Steps, not rounded, of increasing times written as ``30 60 90 epochs`` or ``25%, 50%, 75%``.

    A number without a unit has the unit of the next one.
    """
    found: list[float] = []
    unit = ""
    for part in reversed(re.split(r", ?| (?=\d)", getattr(trick, field_name))):
        match = re.fullmatch(f"{DURATION}?", part)
        unit = (match[2] or unit) if match else ""
        if match is None or not unit:
            found = []
            break
        found.insert(0, _steps(match[1], unit, task))
    rising = bool(found) and all(before < after for before, after in pairwise([0.0, *found]))
    require(trick, field_name, rising, "increasing, as '30 60 90 epochs', '500 steps' or '25% 50% 75%'")
    return found


def _steps(number: str, unit: str, task: Task) -> float:
    if unit == "%":
        return float(number) * task.total_steps / 100
    return float(number) * (task.steps_per_epoch if unit.startswith("epoch") else 1)


def require(trick: Trick, field_name: str, holds: bool, expected: str) -> None:
    """Refuse a hyper-parameter that is out of range, naming the override that sets it."""
    if not holds:
        raise UserError(f"{_override(trick, field_name)}: must be {expected}")


def require_choice(trick: Trick, field_name: str) -> None:
    """Refuse a value that is not one of the field's ``Literal`` choices."""
    hint = get_type_hints(type(trick))[field_name]
    assert get_origin(hint) is Literal, f"{field_name} of {type(trick).__name__} lists no choices"
    value, choices = getattr(trick, field_name), get_args(hint)
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise UserError(f"{_override(trick, field_name)}: must be one of {', '.join(map(str, choices))}{hint}")


def _override(trick: Trick, field_name: str) -> str:
    return f"tricks.{type(trick).__module__.rpartition('.')[2]}.{field_name}={getattr(trick, field_name)}"
