"""Signals that ask a run to stop. They are noted, and the run looks between its steps."""

import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

# A scheduler's, submitit's (which says so before it takes the machine away) and Ctrl-C.
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2", "SIGINT") if hasattr(signal, name))


class Signals:
    """Notes the signals that ask to stop, while its block lasts; a second Ctrl-C quits at once.

    Python runs handlers in the main thread alone: anywhere else, nothing is noted. A signal that the process was
    started to ignore stays ignored.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._frame: FrameType | None = None
        self._again = False  # whether Ctrl-C was typed before
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """Call the handler that was there before, as submitit's, which has the job queued again and ends the process.

        One that only interrupts is left out: the run is interrupted already.
        """
        handler = self._earlier.get(self.caught or 0)
        if callable(handler) and self.caught is not signal.SIGINT:
            with suppress(KeyboardInterrupt):
                handler(self.caught, self._frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._again:
                raise KeyboardInterrupt
            self._again = True
        self.caught, self._frame = signal.Signals(number), frame
