"""The runs of a study over any engine: which to start, what to do when a job ends, when to stop."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

from bagoftricks.engines.base import ATTEMPTS, ELSEWHERE, INTERRUPTED, Ended, Engine, Limits, View
from bagoftricks.engines.job import last_lines, log_path
from bagoftricks.errors import TrainingFailed
from bagoftricks.run.deaths import death_by
from bagoftricks.store.checkpoint_header import FOLDER as CHECKPOINTS
from bagoftricks.store.checkpoint_header import steps_in
from bagoftricks.store.checkpoints import remove_leftovers
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun, state_of

ALIKE = 3  # failures of one kind within seconds that stop a study of which no run has succeeded
QUICK_SECONDS = 10.0


def carry_out_study(
    runs: Sequence[PlannedRun], view: View, engine: Engine, limits: Limits, *, worker: bool = False
) -> None:
    """Carry out the runs on an engine.

    Returns when every run is done or has failed, here or in another sweep over the same store; a ``worker`` leaves
    those of others to them. Raises TrainingFailed if the runs fail alike before any has succeeded.
    """
    if not runs:
        return
    Supervisor(engine, view, worker=worker).carry_out(runs, limits)


class Supervisor:
    """The runs of a study that wait, that are in jobs, and that other sweeps train."""

    def __init__(self, engine: Engine, view: View, *, worker: bool = False) -> None:
        self.engine, self.view, self.worker = engine, view, worker
        self.todo: list[PlannedRun] = []
        self.active: set[str] = set()
        self.elsewhere: list[PlannedRun] = []
        self.attempts: dict[str, list[int]] = {}  # the step of the last checkpoint whenever a run's job was lost
        self.failures = QuickFailures()

    def carry_out(self, runs: Sequence[PlannedRun], limits: Limits) -> None:
        """Start the runs and see to those that end."""
        self.engine.open(runs, self.view, limits)
        try:
            queued = {run.id for run in self.engine.in_flight(runs)}
            self.active = set(queued)
            self.todo = [run for run in runs if run.id not in queued]
            if self.worker:
                self.todo = in_own_order(self.todo)
            while self.todo or self.active or self.elsewhere:
                self.submit()
                if self.engine.detached or not self.wait():
                    return
        finally:
            self.engine.close()

    def submit(self) -> None:
        """Give the engine as many runs as it has room for, without those that other sweeps train or have trained."""
        chosen: list[PlannedRun] = []
        room = self.engine.room() if self.todo else 0
        while self.todo and len(chosen) < room:
            run = self.todo.pop(0)
            state = state_of(run, Store(run.settings.store))
            if state is RunState.RUNNING:
                self.elsewhere.append(run)
                self.view.postponed(run, elsewhere=True)
            elif state in (RunState.DONE, RunState.FAILED):
                self.view.finished(run, state, 0.0)
            else:
                chosen.append(run)
        if chosen:
            self.active.update(run.id for run in chosen)
            self.engine.submit(chosen)

    def wait(self) -> bool:
        """Wait a moment for a job to end, or for other sweeps; return False if nothing is left for this one."""
        if self.active:
            for ended in self.engine.poll():
                self.active.discard(ended.run.id)
                self.see_to(ended)
        elif not self.todo and self.elsewhere:
            self.elsewhere = await_others(self.elsewhere, self.todo, self.view)
            return bool(self.todo) or not self.worker
        return True

    def see_to(self, ended: Ended) -> None:
        """Start the run of a job again if the job was lost; else tell what became of the run."""
        run, stopped = ended.run, ended.status == INTERRUPTED and self.engine.retries_interrupted
        if ended.status == ELSEWHERE:
            self.elsewhere.append(run)
            self.view.postponed(run, elsewhere=True)
        elif (ended.lost or stopped) and self.got_further(run):
            Store(run.settings.store).clear_marks(run.id)
            self.todo.append(run)
            self.view.postponed(run, elsewhere=False)
        else:
            state, error = settle(ended)
            self.view.finished(run, state, ended.seconds)
            self.failures.note(run, state, ended.seconds, error)
            if why := self.failures.reason(len(self.todo) + self.engine.waiting()):
                self.engine.give_up()
                raise TrainingFailed(why)

    def got_further(self, run: PlannedRun) -> bool:
        """Return True if the run reached a later checkpoint than when its last jobs were lost."""
        if run.id not in self.attempts:
            self.attempts[run.id] = self.engine.earlier_attempts(run)
        times = self.attempts[run.id]
        times.append(reached_step(run))
        return not is_stuck(times, self.engine.attempts)


def reached_step(run: PlannedRun) -> int:
    """Return the step of the last checkpoint of a run, 0 without one."""
    return max([0, *steps_in(Store(run.settings.store).folder(run.id) / CHECKPOINTS)])


def is_stuck(steps: Sequence[int], attempts: int = ATTEMPTS) -> bool:
    """Return True if the last ``attempts`` jobs of a run were lost without getting further, by its steps at each."""
    return len(steps) >= attempts and steps[-1] <= steps[-attempts]


@dataclass
class QuickFailures:
    """Notice of runs that fail alike within seconds while none succeeds: the others would fail too."""

    error: str = ""
    runs: list[PlannedRun] = field(default_factory=list)
    over: bool = False  # a run has succeeded, or failed in another way: failures are single ones

    def note(self, run: PlannedRun, state: RunState, seconds: float, error: str) -> None:
        """Take how a run ended."""
        error = error.replace(run.id, "...")
        alike = not self.runs or error == self.error
        self.over = self.over or state is not RunState.FAILED or seconds > QUICK_SECONDS or not alike
        self.error = error
        self.runs.append(run)

    def reason(self, left: int) -> str | None:
        """Return why the study should stop, with ``left`` runs not started; None if it should not."""
        several = len({run.label for run in self.runs}) > 1  # one arm's mistake is not the study's
        if self.over or not left or len(self.runs) < ALIKE or not several:
            return None
        others = f"the other {left} were not started" if left > 1 else "the last one was not started"
        return (
            f"{len(self.runs)} runs failed alike within seconds ({self.error}): {others}; fix it, then type the same "
            "command with retry=failed"
        )


def in_own_order(runs: list[PlannedRun]) -> list[PlannedRun]:
    """Return the runs from a place of this process's own: workers that start together then take different ones."""
    own = crc32(f"{platform.node()} {os.getpid()}".encode()) % max(1, len(runs))
    return runs[own:] + runs[:own]


def settle(ended: Ended) -> tuple[RunState, str]:
    """Record what became of a run whose job has ended; return its state, and its error if it failed."""
    run, status = ended.run, ended.status
    store = Store(run.settings.store)
    if store.state(run.id) is RunState.DONE:
        remove_leftovers(store, run.id)
    state = state_of(run, store)
    said = state is RunState.UNEVALUATED and status > 0  # a trained run whose evaluation told why it failed
    if state not in (RunState.DONE, RunState.FAILED, RunState.INTERRUPTED) and not said:
        how = ended.how or (death_by(-status) if status < 0 else f"ended with exit status {status}")
        what = f"its process {how}" + (f", {ended.at}" if ended.at else "")
        store.mark_failed(run.id, what, ended.log or last_lines(log_path(store, run.id)))
        state = RunState.FAILED
    return state, store.failure(run.id)["error"] if state is RunState.FAILED else ""


def await_others(elsewhere: list[PlannedRun], todo: list[PlannedRun], view: View) -> list[PlannedRun]:
    """Wait a moment for runs that other sweeps train; those whose process died come back to ``todo``."""
    time.sleep(0.5)
    still = []
    for run in elsewhere:
        state = state_of(run, Store(run.settings.store))
        if state is RunState.RUNNING:
            still.append(run)
        elif state in (RunState.DONE, RunState.FAILED):
            view.finished(run, state, 0.0)
        else:
            todo.append(run)
    return still
