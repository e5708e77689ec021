"""The runs of a study in this process, one after another: no process to start, and the data stay in memory."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bagoftricks.engines.base import ELSEWHERE, INTERRUPTED, View
from bagoftricks.engines.supervisor import QuickFailures, await_others, in_own_order
from bagoftricks.engines.warm import WarmProcess
from bagoftricks.errors import TrainingFailed
from bagoftricks.run.reporter import EpochRow
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun, state_of


def run_here(runs: Sequence[PlannedRun], view: View, *, worker: bool = False) -> None:
    """Train the runs in this process; wait for those that other sweeps train, unless this is a ``worker``."""
    process = WarmProcess()
    try:
        carry_out_here(runs, view, process, worker=worker)
    finally:
        process.close()


def carry_out_here(runs: Sequence[PlannedRun], view: View, process: WarmProcess, *, worker: bool) -> None:
    """Train the runs in order; see to those that other sweeps train, and stop if all fail alike."""
    failures, elsewhere = QuickFailures(), list[PlannedRun]()
    todo = in_own_order(list(runs)) if worker else list(runs)
    while todo or elsewhere:
        if not todo:
            elsewhere = await_others(elsewhere, todo, view)
            if worker and not todo:
                return
            continue
        run = todo.pop(0)
        began = time.monotonic()
        view.started(run)
        store = Store(run.settings.store)
        status = process.train(run, store, ViewReporter(run, view), trace_shown=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status == ELSEWHERE:
            elsewhere.append(run)
            view.postponed(run, elsewhere=True)
            continue
        state, seconds = state_of(run, store), time.monotonic() - began
        view.finished(run, state, seconds)
        failures.note(run, state, seconds, store.failure(run.id)["error"] if state is RunState.FAILED else "")
        if why := failures.reason(len(todo)):
            raise TrainingFailed(why)


@dataclass
class ViewReporter:
    """Sender of the progress to a view in the same process."""

    run: PlannedRun
    view: View
    steps: int = 0
    done: int = 0

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int, done: int) -> None:
        self.steps, self.done = steps, done

    def step(self) -> None:
        self.done += 1

    def epoch(self, row: EpochRow) -> None:
        self.view.progress(self.run, self.done, self.steps, row)

    def end(self) -> None: ...
