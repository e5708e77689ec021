"""A study's progress on standard error: a grid of its runs on a terminal, plain lines everywhere."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from rich.live import Live
from rich.text import Text

from bagoftricks.cli.layout import has_blocks
from bagoftricks.cli.progress import can_redraw, plain_console
from bagoftricks.cli.study_grid import effect_text, grid_text
from bagoftricks.cli.study_progress import CellState, StudyProgress
from bagoftricks.errors import UserError, printable
from bagoftricks.report.plan import show_duration
from bagoftricks.report.study_parts import SavedStudy
from bagoftricks.run.reporter import EpochRow
from bagoftricks.statistics.paired import Comparison
from bagoftricks.store.record import Record
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun

REFRESH = 2  # a second: a grid of 500 arms takes some milliseconds
MOST_EFFECTS = 3  # lines about effects after one run
ABOVE = 3  # lines of the terminal that the grid leaves to what is printed above it
CELL_STATES = {RunState.DONE: CellState.DONE, RunState.FAILED: CellState.FAILED, RunState.RUNNING: CellState.ELSEWHERE}


class StudyView:
    """Receiver of the progress of a study, which it shows."""

    def __init__(self, study: SavedStudy, store: Store, slots: int, seconds: float | None = None) -> None:
        """``slots``: runs at a time; ``seconds``: of a run, where that is known from like runs."""
        self.study, self.store, self.console = StudyProgress(study, slots, seconds), store, plain_console()
        self.blocks = has_blocks(self.console.encoding)
        self.lock = threading.Lock()  # the grid is drawn in a thread of its own
        self.live: Live | None = None

    def begin(self, states: Mapping[str, RunState]) -> "StudyView":
        """Take the states of all runs before the first one is trained, and the records of the finished ones."""
        for run_id, state in states.items():
            found = CELL_STATES.get(state)
            if found is not None:
                self.study.finish(run_id, found, self._record(run_id, state))
        self.study.update_effects(states)
        return self

    def __enter__(self) -> "StudyView":
        counts, total = self.study.counts(), len(self.study.runs)
        done, failed = counts[CellState.DONE], counts[CellState.FAILED]
        todo, left = total - done - failed, self.study.seconds_left()
        about = f", about {show_duration(left)}" if left else ""
        before = f"{failed} failed before (retry=failed trains them again), " if failed else ""
        self.console.print(f"{total} runs: {done} finished before, {before}{todo} to train{about}")
        if todo and can_redraw(self.console):
            self.live = Live(
                console=self.console, get_renderable=self._drawn, transient=True, refresh_per_second=REFRESH
            )
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def started(self, run: PlannedRun) -> None:
        with self.lock:
            self.study.start(run.id)

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: EpochRow | None) -> None:
        with self.lock:
            self.study.progress(run.id, steps_done / steps if steps else 0.0, run.settings.epochs)

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None:
        with self.lock:
            self.study.change(run.id, CellState.ELSEWHERE if elsewhere else CellState.WAITING)

    def finished(self, run: PlannedRun, state: RunState, seconds: float) -> None:
        record = self._record(run.id, state)
        with self.lock:
            self.study.finish(run.id, CELL_STATES.get(state, CellState.WAITING), record, seconds)
            effects = self.study.update_effects([run.id])
        score = state.value if record is None else record.score_text()
        took = seconds or (0.0 if record is None else record.cost.wall_seconds)
        ended = sum(cell.state.ended for cell in self.study.runs.values())
        what = f"{time.strftime('%H:%M:%S')} [{ended}/{len(self.study.runs)}] {run.label}, seed {run.seed}"
        self.console.print(printable(f"{what}: {score}, {took:.0f} s"))
        if self.live is None:
            self._print_effects(effects)

    def _print_effects(self, effects: Sequence[Comparison]) -> None:
        """Print the effects that gained a seed: without a grid, nothing else shows them."""
        for effect in effects[:MOST_EFFECTS]:
            self.console.print(printable(f"  so far, {effect.label} against {effect.against}: {effect_text(effect)}"))
        if len(effects) > MOST_EFFECTS:
            self.console.print(f"  ... and {len(effects) - MOST_EFFECTS} more arms against it")

    def _record(self, run_id: str, state: RunState) -> Record | None:
        with suppress(UserError):  # the table names a record that cannot be read
            return self.store.record(run_id) if state is RunState.DONE else None
        return None

    def _drawn(self) -> Text:
        """Return the grid for the present size of the terminal."""
        width, height = self.console.size
        with self.lock:
            text = Text(grid_text(self.study, width, height - ABOVE, blocks=self.blocks))
        text.highlight_regex(r"\bfailed\b", "red")
        return text
