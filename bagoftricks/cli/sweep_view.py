"""A study's progress on standard error: one bar and a line per running arm on a terminal, plain lines elsewhere."""

import time
from contextlib import suppress
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bagoftricks.cli.progress import plain_console
from bagoftricks.errors import UserError, printable
from bagoftricks.report.plan import show_duration
from bagoftricks.run.reporter import EpochRow
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun


class StudyView:
    """Runs done of all, what runs now, and the time that is left."""

    def __init__(self, *, total: int, done: int, left: float | None, slots: int, failed: int = 0) -> None:
        """``left``: seconds that all runs will take, where that is known; ``slots``: runs at a time.

        ``failed`` is the number of runs, of those done, that failed in an earlier sweep.
        """
        self.console = plain_console()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.bars = Progress(
            *columns, TextColumn("{task.fields[about]}", markup=False), console=self.console, transient=True
        )
        self.total, self.done, self.left, self.slots, self.failed = total, done, left, slots, failed
        self.whole = self.bars.add_task("study", total=total, completed=done, about="")
        self.tasks: dict[str, TaskID] = {}
        self.rows: dict[str, EpochRow] = {}
        self.took: list[float] = []

    def __enter__(self) -> "StudyView":
        todo = self.total - self.done
        left = f", about {show_duration(self.left)}" if self.left and todo else ""
        failed = f"{self.failed} failed before (retry=failed trains them again), " if self.failed else ""
        finished = self.done - self.failed
        self.console.print(f"{self.total} runs: {finished} finished before, {failed}{todo} to train{left}")
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def started(self, run: PlannedRun) -> None:
        self.tasks[run.id] = self.bars.add_task(printable(f"{run.label} seed {run.seed}"), total=None, about="starting")

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: EpochRow | None) -> None:
        if row is not None:
            self.rows[run.id] = row
        last = self.rows.get(run.id)
        about = "epoch {epoch}, top-1 {top1:.1f} %".format_map(last) if last else ""
        self.bars.update(self.tasks[run.id], total=steps or None, completed=steps_done, about=about)

    def finished(self, run: PlannedRun, state: RunState, seconds: float) -> None:
        self.done += 1
        if run.id in self.tasks:
            self.bars.remove_task(self.tasks.pop(run.id))
        if state is RunState.DONE and seconds:
            self.took.append(seconds)
        left = self.total - self.done
        rate = sum(self.took) / len(self.took) if self.took else None
        about = f"about {show_duration(rate * left / self.slots)}" if rate else ""
        self.bars.update(self.whole, completed=self.done, about=about)
        score, took = scored_line(run, state)
        what = f"{time.strftime('%H:%M:%S')} [{self.done}/{self.total}] {run.label}, seed {run.seed}"
        self.console.print(printable(f"{what}: {score}, {seconds or took:.0f} s"))


def scored_line(run: PlannedRun, state: RunState) -> tuple[str, float]:
    """Return the accuracy of a finished run, as the table has it, and its seconds; the state of another run."""
    with suppress(UserError):  # the table names a record that cannot be read
        record = Store(run.settings.store).record(run.id) if state is RunState.DONE else None
        if record is not None:
            return f"top-1 {record.metrics[record.reported].top1:.2f} %", record.cost.wall_seconds
    return state.value, 0.0
