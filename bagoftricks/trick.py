"""The contract of a trick: a dataclass of hyper-parameters that returns the edits they mean."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import dataclass_transform

from bagoftricks.edits import Edit
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.rng import Noise

T = TypeVar("T", bound=type[Any])


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
def trick(*, paper: str, warns: Mapping[str, str] | None = None) -> Callable[[T], T]:
    """Make a class of hyper-parameters a trick: a slotted, keyword-only dataclass that cites its source.

    ``warns`` names other tricks that it goes with but should not, and says why (a literal: the card shows it).

    The class lives in ``tricks/<family>/<name>.py``. Its fields need literal defaults and a docstring each: the
    command line reads its schema and its help from the source, without importing torch (``catalogue``).
    """

    def register(cls: T) -> T:
        made = dataclass(kw_only=True, slots=True)(cls)
        made.paper, made.warns = paper, dict(warns or {})
        return made  # type: ignore[return-value]

    return register


def duration(trick: Trick, field_name: str, task: Task) -> int:
    """Steps of a length written as ``5 epochs``, ``500 steps`` or ``10 %`` (of the run); the space may be left out."""
    steps_of = {"epochs": task.steps_per_epoch, "steps": 1, "%": task.total_steps / 100}
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(epochs?|steps?|%)", getattr(trick, field_name))
    require(trick, field_name, match is not None, "as '5 epochs', '500 steps' or '10%'")
    assert match is not None
    unit = match[2] if match[2] == "%" else match[2].rstrip("s") + "s"
    return round(float(match[1]) * steps_of[unit])


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
