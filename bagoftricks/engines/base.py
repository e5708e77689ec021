"""Base of all engines. Imports nothing that takes time.

An engine is a subclass of ``Engine`` marked with ``@engine(name=...)``; its fields are its settings, typed as
``engine.NAME=VALUE``. It starts runs as jobs and reports how each one ended. What follows from that is the same for all
engines (``supervisor.py``): a run whose job was killed goes on in another one, one that another sweep trains is waited
for, and a study whose runs all fail at once is stopped. The store keeps the results, so one job's death is at most one
run's failure.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import PACKAGE, Values, all_cards, find_card, make_object
from bagoftricks.study.factors import typed_value

if TYPE_CHECKING:
    from bagoftricks.run.reporter import EpochRow
    from bagoftricks.store.store import RunState
    from bagoftricks.study.plan import PlannedRun

ELSEWHERE = 3  # exit status of a job that found its run taken
LOST = 4  # exit status of a job one of whose ranks was killed
INTERRUPTED = 75  # exit status of a job whose run was stopped and is saved
ATTEMPTS = 3  # of a run whose job ends again and again at the same place


@runtime_checkable
class View(Protocol):
    """Receiver of the progress of a study."""

    def started(self, run: "PlannedRun") -> None: ...

    def progress(self, run: "PlannedRun", steps_done: int, steps: int, row: "EpochRow | None") -> None: ...

    def postponed(self, run: "PlannedRun", *, elsewhere: bool) -> None: ...  # its job ended before it did

    def finished(self, run: "PlannedRun", state: "RunState", seconds: float) -> None: ...


@dataclass(frozen=True)
class Limits:
    """Limits of a sweep, for any engine."""

    slots: int | None = None  # runs at a time; None: as many as the engine finds room for
    time_limit: float | None = None  # seconds of one run


@dataclass(frozen=True)
class Ended:
    """End of a job."""

    run: "PlannedRun"
    status: int  # of its process; -N: signal N ended it
    seconds: float = 0.0
    how: str = ""  # it ended, if more is known than the status
    at: str = ""  # the run was then, as "after step 3 of 9"
    log: str = ""  # of its job; empty: the run's own
    final: bool = False  # the run is not to be started again, as over its time limit

    @property
    def lost(self) -> bool:
        """Return True if the job was killed, or one of its ranks: that was not the run's own fault."""
        return (self.status < 0 or self.status == LOST) and not self.final


class Engine(ABC):
    """Place where runs are carried out; each engine overrides what follows."""

    retries_interrupted: ClassVar[bool] = False  # a run that ended saved, as before a time limit, is started again

    def open(self, runs: "Sequence[PlannedRun]", view: View, limits: Limits) -> None:
        """Get ready to start jobs for these runs. Raises UserError if that is impossible here."""
        self.view, self.limits = view, limits

    def in_flight(self, runs: "Sequence[PlannedRun]") -> "list[PlannedRun]":
        """Return those of the runs that jobs of an earlier command carry out, or will; they are reported as if new."""
        return []

    def states(self, runs: "Sequence[PlannedRun]") -> "Mapping[str, RunState]":
        """Return by id whether a run is queued or running, if a job carries it out; needs no ``open``."""
        return {}

    def earlier_attempts(self, run: "PlannedRun") -> list[int]:
        """Return the last checkpoint of a run whenever a job for it was lost in an earlier command."""
        return []

    @property
    def attempts(self) -> int:
        """Return the number of jobs in a row that a run may lose without getting further."""
        return ATTEMPTS

    def forget(self, runs: "Sequence[PlannedRun]") -> None:  # noqa: B027 (few engines need it)
        """Remove what was kept in the store for these runs, which are all over; needs no ``open``."""

    @abstractmethod
    def room(self) -> int:
        """Return the number of runs that can be submitted now."""

    @abstractmethod
    def submit(self, runs: "Sequence[PlannedRun]") -> None:
        """Start a job for each run, or queue it; tell the view when a run really starts."""

    @property
    def detached(self) -> bool:
        """Return True if the command ends once all is submitted."""
        return False

    @abstractmethod
    def poll(self) -> list[Ended]:
        """Return the jobs that have ended; wait a fifth of a second for one. Pass progress on to the view."""

    def waiting(self) -> int:
        """Return the number of runs that are queued and have not begun."""
        return 0

    def left(self) -> str:
        """Return what goes on after the command, with what ends it; empty if nothing does."""
        return ""

    def give_up(self) -> None:  # noqa: B027 (few engines need it)
        """Cancel what is queued: the study stops."""

    def close(self) -> None:  # noqa: B027 (few engines need it)
        """Stop the jobs that are left, and let their runs save; free what ``open`` took."""


def typed_engine_values(name: str, texts: Mapping[str, str]) -> Values:
    """Return settings of an engine in their types, from ``engine.NAME=TEXT``.

    Raises UserError for an engine that does not exist, and for a setting that it does not have.
    """
    card = find_card("engine", name)
    known = {field.name: field for field in card.fields}
    for key in texts:
        if key not in known:
            raise UserError(f"engine.{key}: is no setting of engine={name}{_owner_of(key, known)}")
    return {key: typed_value("engine.", known[key], text) for key, text in texts.items()}


def _owner_of(key: str, known: Collection[str]) -> str:
    """Return the engine that has this setting, else the nearest setting of those that are known."""
    owners = [f"engine={card.name}" for card in all_cards("engine").values() if key in {f.name for f in card.fields}]
    if owners:
        return f"; it is one of {' and '.join(owners)}"
    return f"{did_you_mean(key, known)} ({', '.join(known)})" if known else ": it has none"


def check_engine_values(name: str, values: Values) -> None:
    """Raise UserError for a value that the engine cannot use; the packages that it needs may be missing here."""
    if values:
        make_object(find_card("engine", name), values)


def make_engine(name: str, values: Values) -> Engine:
    """Return an engine with these settings. Raises UserError if a package that it needs is not installed."""
    card = find_card("engine", name)
    if (package := card.options.get("package")) and find_spec(package) is None:
        what = f"'bagoftricks[{name}]'" if card.source.is_relative_to(PACKAGE) else package
        raise UserError(f"engine={name}: {package} is not installed; type pip install {what}")
    made: Engine = make_object(card, values)
    return made
