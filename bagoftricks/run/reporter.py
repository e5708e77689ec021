"""Receivers of the progress of one run."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

EpochRow: TypeAlias = Mapping[str, Any]  # a row of metrics.csv: one weight set after an epoch
NO_SCORES = ("epoch", "weights", "steps", "train_loss", "train_seconds")  # of its columns


@runtime_checkable
class Reporter(Protocol):
    """Receiver of the progress of one run."""

    def note(self, text: str) -> None:
        """Receive a line of information or a warning."""

    def begin(self, run_id: str, steps: int, done: int) -> None:
        """Receive the start of a training: its steps, and those done by earlier processes."""

    def step(self) -> None:
        """Receive the end of a step."""

    def epoch(self, row: EpochRow) -> None:
        """Receive the metrics of one weight set after an epoch."""

    def end(self) -> None:
        """Receive the end of the training, finished or not."""


class SilentReporter:
    """A reporter that prints nothing."""

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int, done: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, row: EpochRow) -> None: ...

    def end(self) -> None: ...
