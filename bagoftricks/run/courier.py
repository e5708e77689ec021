"""Loggers in threads of their own: what one of them raises or waits for never holds up a run."""

import time
from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Event, Thread

from bagoftricks.errors import printable
from bagoftricks.loggers.base import Figures, Logger, RunFacts

START_SECONDS = 90.0  # for a logger to start; a first database takes some
FINISH_SECONDS = 60.0  # to send what is left
HASTY_SECONDS = 10.0  # the same for a run that is interrupted: its machine may be taken away
MOST_WAITING = 10_000  # figures on their way to one logger
MOST_OF_REASON = 200  # characters


class Courier:
    """Thread that hands one logger what it is to log, in order."""

    def __init__(self, name: str, logger: Logger) -> None:
        self.name, self.logger = name, logger
        self.failure: str | None = None  # why it was dropped
        self.where: str | None = None  # a line about where the figures can be seen
        self.calls: Queue[Callable[[], object] | None] = Queue(MOST_WAITING)
        Thread(target=self._work, name=f"logger {name}", daemon=True).start()

    def start(self, run: RunFacts, earlier: Sequence[tuple[int, Figures]] = ()) -> None:
        """Start the logger with the figures of earlier processes, and wait for it."""

        def start() -> None:
            self.where = self.logger.start(run)
            for step, figures in earlier:
                self.logger.log(step, figures)

        self._hand_over(start)
        self._wait(START_SECONDS, "its start takes")

    def log(self, step: int, figures: Figures) -> None:
        """Hand over the figures of a step; return at once."""
        self._hand_over(lambda: self.logger.log(step, figures))

    def finish(self, outcome: str) -> None:
        """Hand over the end of the training, and wait until all is sent."""
        self._hand_over(lambda: self.logger.finish(outcome))
        self._wait(HASTY_SECONDS if outcome == "interrupted" else FINISH_SECONDS, "it holds up the end of the run for")
        self._hand_over(None)

    def _hand_over(self, call: Callable[[], object] | None) -> None:
        try:
            self.calls.put_nowait(call)
        except Full:
            self.failure = self.failure or f"it is {MOST_WAITING:,} steps behind"

    def _wait(self, seconds: float, what: str) -> None:
        done, deadline = Event(), time.monotonic() + seconds
        self._hand_over(done.set)
        while self.failure is None and not done.wait(0.05):
            if time.monotonic() > deadline:
                self.failure = f"{what} more than {seconds:g} s"

    def _work(self) -> None:
        """Make the calls until there is None, or one raises."""
        while (call := self.calls.get()) is not None:
            try:
                call()
            except Exception as error:
                reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
                self.failure = printable(reason)[:MOST_OF_REASON]
                return
