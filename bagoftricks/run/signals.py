"""Signals that stop a run. They are recorded, and the run checks for them between its steps."""

import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

# From a scheduler, from submitit (before it takes the machine away), from a terminal that is closed, and from Ctrl-C.
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2", "SIGHUP", "SIGINT") if hasattr(signal, name))


class Signals:
    """Record of the stopping signals that arrive during its block; a second Ctrl-C quits at once.

    Python runs handlers in the main thread only: in any other thread, nothing is recorded. A signal that the process
    ignores stays ignored.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._frame: FrameType | None = None
        self._again = False  # True after a first Ctrl-C
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._earlier[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """Call the earlier handler: submitit's, for one, puts the job into the queue again and ends the process.

        Its KeyboardInterrupt is dropped: the run is interrupted already.
        """
        handler = self._earlier.get(self.caught or 0)
        if callable(handler) and self.caught is not signal.SIGINT:
            with suppress(KeyboardInterrupt):
                handler(self.caught, self._frame)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._again:
                raise KeyboardInterrupt
            self._again = True
        self.caught, self._frame = signal.Signals(number), frame
