"""A run's progress on standard error: a bar on a terminal, a line per epoch anywhere."""

import os
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bagoftricks.errors import printable
from bagoftricks.registry import score_names
from bagoftricks.run.reporter import EpochRow

NAME = 19  # characters that a bar shows: a protocol's name, or most of a run's id

MOST_SCORES = 3  # of a task that a line shows


def row_text(row: EpochRow) -> str:
    """Return the losses, the first scores and the seconds of a row of metrics."""
    parts = [f"train loss {row['train_loss']:.4f}", f"loss {row['loss']:.4f}" if "loss" in row else ""]
    names = {key: name for key, name in score_names().items() if key in row and key != "loss"}
    shown = list(names)[: 1 if "top1" in names else MOST_SCORES]
    parts += [f"{names[key]} {row[key]:.2f} %" for key in shown]
    return "  ".join(filter(None, [*parts, f"{row['train_seconds']:.1f} s"]))


def plain_console() -> Console:
    """Return a console on standard error that prints text as it is: [red] is no colour."""
    width = (
        80 if os.environ.get("COLUMNS") == "0" else None
    )  # as of a terminal without a size: Rich would print nothing
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False, width=width)


def can_redraw(console: Console) -> bool:
    """Return True if a display can be drawn again and again: on a terminal, or in a notebook that has ipywidgets."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal


class ConsoleReporter:
    """Prints what a run reports; standard output stays free for its result. Notes are printed in any case."""

    def __init__(self, *, enabled: bool, opening: str | None = None) -> None:
        """Take ``opening``, a note to print when the training begins: an error before that stands alone."""
        self.console, self.enabled, self.opening = plain_console(), enabled, opening
        self.bar: Progress | None = None

    def note(self, text: str) -> None:
        self.console.print(printable(text))

    def begin(self, run_id: str, steps: int, done: int) -> None:
        if self.opening is not None:
            self.note(self.opening)
            self.opening = None
        if not (self.enabled and can_redraw(self.console)):
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.bar = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self.console, transient=True)
        self.task = self.bar.add_task(run_id[:NAME], total=steps, completed=done)
        self.bar.start()

    def step(self) -> None:
        if self.bar is not None:
            self.bar.advance(self.task)

    def epoch(self, row: EpochRow) -> None:
        if not self.enabled:
            return
        weights = row.get("weights", "last")
        name = "" if weights == "last" else f" [{printable(weights)}]"
        self.console.print(f"epoch {row.get('epoch'):3}{name}  {row_text(row)}")

    def end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
