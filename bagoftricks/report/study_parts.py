"""Typed parts of a study: its file, as bot-sweep saves it, and the rows of its table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.report.dawnbench import Measure
from bagoftricks.statistics.paired import Comparison, Summary
from bagoftricks.store.files import read_file
from bagoftricks.store.json_fields import SEAL, Json, from_json, parse_json, unsealed
from bagoftricks.store.record import Record
from bagoftricks.store.store import STUDY_BYTES, RunState, Store
from bagoftricks.study.plan import study_names, study_path
from bagoftricks.study.selection import Selection

MOST_LOOKED_AT = 10_000  # seeds: what more looks cost takes too long to simulate
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SavedArm:
    """One arm of a study, with the runs that its row is made of."""

    label: str
    tricks: dict[str, Json] = field(default_factory=dict)
    compare_to: str | None = None
    published: dict[str, float] = field(default_factory=dict)  # the paper's values by column
    needs: tuple[str, ...] = ()  # tricks that do not exist yet
    on: tuple[str, ...] = ()  # factorial and fractional designs: labels of the levels that are switched on
    quoted: bool = False  # published numbers alone
    runs: dict[str, str] = field(default_factory=dict)  # seed -> run id
    evaluation: str | None = None  # on corrupted images, by its name in the records

    def records(self, store: Store) -> dict[int, Record]:
        """Return the records of the finished runs by seed; unreadable ones are named in ``store.damaged``."""
        found: dict[int, Record] = {}
        for seed, run_id in self.runs.items():
            try:
                record = store.record(run_id)
            except UserError as error:
                store.damaged.append(str(error))
                continue
            if record is not None:
                found[int(seed)] = record
        return found

    def failures(self, store: Store, finished: Mapping[int, Record]) -> dict[int, str]:
        """Return the errors of the failed runs by seed."""
        left = {int(seed): run_id for seed, run_id in self.runs.items() if int(seed) not in finished}
        return {s: store.failure(r)["error"] for s, r in left.items() if store.state(r) is RunState.FAILED}

    def unfinished(self, store: Store) -> list[str]:
        """Return a line for each run that failed, with its error, or was interrupted."""
        lines = []
        for seed, run_id in self.runs.items():
            state = store.state(run_id)
            if state is RunState.FAILED:
                lines.append(f"{self.label}, seed {seed}, failed: {store.failure(run_id)['error']}")
            elif state is RunState.INTERRUPTED:
                lines.append(f"{self.label}, seed {seed}, was interrupted")
        return lines


@dataclass(frozen=True, kw_only=True)
class SavedStudy:
    """A study: its arms and seeds, and the command that made it."""

    name: str
    command: str
    seeds: tuple[int, ...]
    arms: tuple[SavedArm, ...]
    whole: Json  # all fields of the file
    title: str | None = None
    source: str | None = None  # of the published values
    scale: str | None = None
    design: str | None = None
    factors: tuple[tuple[str, ...], ...] = ()  # factorial and fractional designs: labels of each factor's levels
    columns: tuple[str, ...] | None = None
    score: str | None = None  # that the arms are compared in, None for the usual one
    resolve: float | None = None  # the difference that matters, in the unit of the score
    measure: Measure | None = None
    looks: tuple[int, ...] = ()  # numbers of seeds at which it is judged, also those to come
    judged: int = 0  # the last of them that it was judged at
    extensions: int = 0  # looks before arms were added to a factorial design
    selection: Selection | None = None  # of designs that choose among their arms
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """The row of one arm: summaries by column, published values and comparisons."""

    label: str
    quoted: bool  # published numbers alone
    n: int
    missing: str
    absent: str  # which runs have no record, in words
    selection: str  # part of the arm in a selection, in words
    struck: bool  # what it was chosen by is too high to be a result
    values: dict[str, Summary]
    reached: tuple[int, int] | None  # (runs that reach the target, runs with the times of their accuracies)
    published: dict[str, float]
    comparison: Comparison | None
    comparison_mce: Comparison | None
    overlaps: list[str]
    runs: dict[str, tuple[str, ...]] = field(default_factory=dict)  # key of a value or comparison -> ids of its runs


def load_study(store: Store, name: str) -> SavedStudy:
    """Return the study that bot-sweep saved. Raises UserError if it is missing or damaged."""
    path = study_path(store, name)
    if not path.exists():
        known = study_names(store)
        there = f"; there are {', '.join(known)}" if known else "; bot-sweep makes one"
        raise UserError(f"store={store} holds no study '{name}'{did_you_mean(name, known) or there}")
    try:
        whole, sealed = unsealed(parse_json(read_file(path, STUDY_BYTES)))
        if not sealed and "format" in whole:
            raise ValueError(f"{SEAL} is missing")
        return read_study(whole)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{path} is not a study ({error}): type the bot-sweep command that made it again") from error


def read_study(whole: Json) -> SavedStudy:
    """Return the study of the fields of its file."""
    arms = [_known(SavedArm, arm) for arm in from_json(tuple[Json, ...], whole["arms"], "arms")]
    study = from_json(SavedStudy, {**_known(SavedStudy, whole), "arms": arms, "whole": whole})
    if list(study.looks) != sorted({*study.looks}) or not all(0 < n <= MOST_LOOKED_AT for n in study.looks):
        raise ValueError(f"looks must ascend, from 1 to {MOST_LOOKED_AT}")
    for seed in {seed for arm in study.arms for seed in arm.runs}:
        int(seed)
    return study


def _known(kind: type[T], values: Mapping[str, object]) -> Json:
    """Return the fields that ``kind`` has; a study's file also holds what is only repeated in JSON."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if name in names}
