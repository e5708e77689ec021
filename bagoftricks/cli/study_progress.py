"""Progress of a study: the state of each of its runs, the effects so far, the time that is left."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from bagoftricks.report.dawnbench import NO_MEASURE
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults
from bagoftricks.statistics.paired import Comparison, compare
from bagoftricks.store.record import Record

ENOUGH = 0.05  # share of a run from which on its own speed tells how long it takes


class CellState(Enum):
    """State of a run as a sweep sees it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    ELSEWHERE = "in another process"

    @property
    def ended(self) -> bool:
        return self in (CellState.DONE, CellState.FAILED)


@dataclass
class RunCell:
    """One run of a study."""

    state: CellState = CellState.WAITING
    share: float = 0.0  # of its steps
    epochs: float = 0.0  # that are done
    score: float | None = None  # the first one, in %, of a finished run
    changed: int = 0  # greater for a later change of state
    began: tuple[float, float] | None = None  # time and share when this process first heard of its steps

    def speed(self) -> float | None:
        """Return the share of the run that is done in a second, None before there is enough of it."""
        if self.state is not CellState.RUNNING or self.began is None or self.share - self.began[1] < ENOUGH:
            return None
        return (self.share - self.began[1]) / (time.monotonic() - self.began[0])


class StudyProgress:
    """The runs of a study: cells and records by arm and seed."""

    def __init__(self, study: SavedStudy, slots: int, seconds: float | None = None) -> None:
        """``slots``: runs at a time; ``seconds``: of a run, from records of like ones."""
        self.study, self.slots, self.seconds = study, slots, seconds
        self.arms = {arm.label: arm for arm in study.arms if arm.runs}
        self.runs: dict[str, RunCell] = {}  # by id: two arms may be the same run
        self.cells: dict[str, dict[int, RunCell]] = {}
        self.records: dict[str, dict[int, Record]] = {}
        self.places: dict[str, list[tuple[str, int]]] = {}
        for label, arm in self.arms.items():
            self.records[label] = {}
            self.cells[label] = {
                int(seed): self.runs.setdefault(run_id, RunCell()) for seed, run_id in arm.runs.items()
            }
            for seed, run_id in arm.runs.items():
                self.places.setdefault(run_id, []).append((label, int(seed)))
        self.took: list[float] = []  # seconds of the runs that were finished here
        self.effects: dict[str, Comparison] = {}  # by arm, over the seeds that both arms have so far
        self.changes = 0
        self.began = time.monotonic()

    def start(self, run_id: str) -> None:
        """Note that a process was started for a run."""
        self.change(run_id, CellState.RUNNING).began = None

    def progress(self, run_id: str, share: float, epochs: int) -> None:
        """Note the ``share`` of the steps of a run of ``epochs`` epochs that is done."""
        cell = self.runs[run_id]
        cell.share, cell.epochs = share, share * epochs
        cell.began = cell.began or (time.monotonic(), share)

    def finish(self, run_id: str, state: CellState, record: Record | None = None, seconds: float = 0.0) -> None:
        """Note the end of a run, ``seconds`` after it was started here, with the record that it left."""
        cell = self.change(run_id, state)
        if record is None:
            return
        cell.score = record.score()
        self.took += [seconds] if seconds else []
        for label, seed in self.places[run_id]:
            self.records[label][seed] = record

    def change(self, run_id: str, state: CellState) -> RunCell:
        """Set the state of a run."""
        cell = self.runs[run_id]
        self.changes += 1
        cell.state, cell.changed = state, self.changes
        return cell

    def counts(self) -> Counter[CellState]:
        return Counter(cell.state for cell in self.runs.values())

    def update_effects(self, run_ids: Iterable[str]) -> list[Comparison]:
        """Return the effects that gained a seed with these runs: of their arms, and of arms compared with those.

        Each is judged by its own differences alone: the law of a whole table takes seconds for each number of runs.
        """
        ended = {place for run_id in run_ids for place in self.places[run_id]}
        gained = {
            arm.label
            for arm in self.arms.values()
            if any((name, seed) in ended for name in (arm.label, arm.compare_to) for seed in self._shared(arm))
        }
        study = replace(self.study, arms=tuple(self.arms.values()))
        results = StudyResults(study, self.records, self.study.measure or NO_MEASURE)
        scores, pairs = results.paired_scores(results.score)
        pairs = [] if results.is_factorial else pairs  # whose arms are compared with nothing
        better = results.score.higher_is_better
        found = [
            compare({arm: scores[arm] for arm in p}, [p], higher_is_better=better)[0] for p in pairs if p[0] in gained
        ]
        self.effects |= {made.label: made for made in found}
        return found

    def _shared(self, arm: SavedArm) -> set[int]:
        """Return the seeds that an arm and the one it is compared with have."""
        return self.records[arm.label].keys() & self.records.get(arm.compare_to or "", {}).keys()

    def seconds_left(self) -> float | None:
        """Return an estimate of the time that is left, None before anything is known of it."""
        left = [cell for cell in self.runs.values() if not cell.state.ended]
        speeds = [speed for cell in left if (speed := cell.speed())]
        each = self.seconds if not speeds else len(speeds) / sum(speeds)
        if self.took:
            each = sum(self.took) / len(self.took)
        if each is None or not left:
            return None
        return each * sum(1 - cell.share for cell in left) / min(self.slots, len(left))
