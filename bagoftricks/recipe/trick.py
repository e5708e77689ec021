"""The contract of a trick: a dataclass of hyper-parameters that returns edits."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import dataclass_transform

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.recipe.edits import Edit, InitParams, LossFn
from bagoftricks.registry import snake_case
from bagoftricks.rng import Noise

T = TypeVar("T", bound=type[Any])
ClockValues = dict[str, tuple[Tensor, Callable[[float], float]]]  # by the place that reads them, with how they follow
LONGEST_TIME = 1e9  # epochs, steps or percent
DURATION = r"(\d+(?:\.\d+)?) ?(epochs?|steps?|%)"


@dataclass(frozen=True, slots=True)
class Length:
    """Length of a run in steps."""

    steps_per_epoch: int
    total_steps: int


class Clock:
    """Training time of one run: its length, and its progress in [0, 1). The trainer sets both."""

    __slots__ = ("_length", "_progress", "read_on_host", "values", "was_read")

    def __init__(self) -> None:
        self._progress = torch.zeros(())  # on the CPU, so that nothing waits for the device
        self._length: Length | None = None
        self.was_read = False  # a step that reads the progress is another one in a longer run
        self.values: ClockValues | None = (
            None  # tensors that are kept for a recorded step, by the place that reads them
        )
        self.read_on_host = False  # while they were: what a recorded step does not see again

    def __float__(self) -> float:
        return float(self.progress)

    @property
    def progress(self) -> Tensor:
        """Return the share of the run that is done, a scalar on the CPU."""
        self.was_read = True
        self.read_on_host |= self.values is not None
        return self._progress

    def value(self, place: str, compute: Callable[[float], float], device: torch.device) -> float | Tensor:
        """Return what ``compute`` makes of the progress, for the layer at ``place``; a tensor while a step is recorded.

        The tensor, a scalar on ``device``, is computed again before each launch of the recorded step.
        """
        self.was_read = True
        if self.values is None:
            return compute(float(self._progress))
        if place not in self.values:
            self.values[place] = torch.full((), compute(float(self._progress)), device=device), compute
        return self.values[place][0]

    def renew(self, values: ClockValues) -> None:
        """Compute values of a recorded step again, from the progress now."""
        self.was_read |= bool(values)
        for tensor, compute in values.values():
            tensor.fill_(compute(float(self._progress)))

    @property
    def length(self) -> Length:
        """Return the length of the run, known once its data is: for the callables of an edit, not for ``edits``."""
        assert self._length is not None, "no run has begun: a trick may read the length in the callables of its edits"
        return self._length

    def begin(self, length: Length) -> None:
        """Set the length of the run."""
        self._length = length

    def set(self, step: int) -> None:
        """Set the progress to that of ``step``."""
        self._progress.fill_(step / self.length.total_steps)


@dataclass(frozen=True, slots=True)
class Task:
    """Facts about the network and the data that a trick may read.

    Two change during a run: ``clock`` and ``noise``, the draws of layers that drop something and of gradients.
    """

    num_classes: int
    batch_size: int  # images in one update, over all devices
    image_size: int  # side in pixels of the training images
    class_counts: tuple[int, ...] | None = None  # training images of each class; None before the data is found
    loss: LossFn = F.cross_entropy  # without tricks
    inits: tuple[InitParams, ...] = ()  # of the task's own layers, before those of tricks
    clock: Clock = field(default_factory=Clock)
    noise: Noise = field(default_factory=Noise)


@runtime_checkable
class Trick(Protocol):
    """Protocol of a trick: hyper-parameters that return edits."""

    def edits(self, task: Task) -> Iterable[Edit]:
        """Return the edits that the trick makes to the recipe of ``task``."""
        ...


@dataclass_transform(kw_only_default=True)
def trick(
    *,
    paper: str,
    family: str = "",
    name: str = "",
    warns: Mapping[str, str] | None = None,
    overlaps: str = "",
    overlaps_if: str = "",
) -> Callable[[T], T]:
    """Make a class of hyper-parameters a trick: a slotted, keyword-only dataclass that cites its source.

    ``warns`` gives, by name, the tricks that it composes with but should not, with the reasons (a literal: the card
    shows it). ``overlaps`` is the reason why it trains for corruptions that robustness is measured on; tables mark such
    rows. ``overlaps_if`` is the name of a hyper-parameter; there is no overlap while it is zero, empty or false.

    A trick of ours lives in ``tricks/<family>/<name>.py``; a plug-in's states its ``family`` (tweak, efficiency, refine
    or regularize), and its ``name`` if that is not its class's in snake_case. Its fields need literal defaults and a
    docstring each: the command line reads its schema and its help from the source (``registry``). A field that came
    after the first runs is named in the class attribute ``later``, a tuple: with its default, ids are as before.
    """

    def register(cls: T) -> T:
        made = dataclass(kw_only=True, slots=True)(cls)
        made.paper, made.warns, made.overlaps, made.overlaps_if = paper, dict(warns or {}), overlaps, overlaps_if
        ours = cls.__module__.startswith("bagoftricks.tricks.")
        made.trick_name = cls.__module__.rpartition(".")[2] if ours else name or snake_case(cls.__name__)
        return made  # type: ignore[return-value]

    return register


@dataclass(frozen=True, slots=True)
class Duration:
    """Length of time in a run, as typed: a number of epochs or steps, or a share of the run in percent."""

    number: float
    unit: str

    def steps(self, length: Length) -> float:
        """Return the steps, not rounded."""
        if self.unit == "%":
            return self.number * length.total_steps / 100
        return self.number * (length.steps_per_epoch if self.unit.startswith("epoch") else 1)


def duration(trick: Trick, field_name: str, *, least: int = 0) -> Callable[[Length], int]:
    """Read a time written as ``5 epochs``, ``500 steps`` or ``10 %`` (the space is optional); return its steps.

    With ``least`` above 0, a time of 0 is refused, and a time below ``least`` steps is rounded up to ``least``.
    """
    match = re.fullmatch(DURATION, getattr(trick, field_name))
    require(trick, field_name, match is not None, "as '5 epochs', '500 steps' or '10%'")
    assert match is not None
    time = Duration(float(match[1]), match[2])
    require(trick, field_name, time.number > 0 or not least, "longer than 0")
    require(trick, field_name, time.number <= LONGEST_TIME, f"at most {LONGEST_TIME:g} {time.unit}")
    return lambda length: max(least, round(time.steps(length)))


def moments(trick: Trick, field_name: str) -> Callable[[Length], list[float]]:
    """Read increasing times written as ``30 60 90 epochs`` or ``25%, 50%, 75%``; return their steps, not rounded.

    A number without a unit has the unit of the next one. Times of different units are compared when the length of the
    run is known.
    """
    durations: list[Duration] = []
    unit = ""
    for part in reversed(re.split(r", ?| (?=\d)", getattr(trick, field_name))):
        match = re.fullmatch(f"{DURATION}?", part)
        unit = (match[2] or unit) if match else ""
        if match is None or not unit:
            durations = []
            break
        durations.insert(0, Duration(float(match[1]), unit))

    def steps(length: Length) -> list[float]:
        times = [time.steps(length) for time in durations]
        rising = bool(times) and all(before < after for before, after in pairwise([0.0, *times]))
        require(trick, field_name, rising, "increasing, as '30 60 90 epochs', '500 steps' or '25% 50% 75%'")
        return times

    if len({time.unit.rstrip("s") for time in durations}) <= 1:  # one unit: comparable without the length
        steps(Length(1, 100))
    return steps


def require(trick: Trick, field_name: str, holds: bool, expected: str) -> None:
    """Raise UserError with the override to change, unless the condition on a hyper-parameter ``holds``."""
    if not holds:
        raise UserError(f"{_override(trick, field_name)}: must be {expected}")


def require_choice(trick: Trick, field_name: str) -> None:
    """Raise UserError if the value is not one of the field's ``Literal`` choices."""
    hint = get_type_hints(type(trick))[field_name]
    assert get_origin(hint) is Literal, f"{field_name} of {type(trick).__name__} lists no choices"
    value, choices = getattr(trick, field_name), get_args(hint)
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise UserError(f"{_override(trick, field_name)}: must be one of {', '.join(map(str, choices))}{hint}")


def _override(trick: Trick, field_name: str) -> str:
    name = getattr(trick, "trick_name", type(trick).__name__)
    return f"tricks.{name}.{field_name}={getattr(trick, field_name)}"
