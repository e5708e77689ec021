"""Standard streams of a command: one that is closed, or whose reader has left, ends nothing.

``bot-table | head`` has seen enough, and a training is worth finishing after its terminal is gone.
"""

import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from bagoftricks.errors import printable
from bagoftricks.escape import lines_for_terminal

LEFT = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)  # by a pipe's reader, a terminal, a caller


class QuietFile(io.FileIO):
    """File whose reader may leave: what is written afterwards is dropped."""

    lost = False

    def write(self, data: Any) -> int:
        if not self.lost:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = True
                if self.fileno() == 1 and error.errno not in LEFT:  # a result that cannot be kept, as on a full disk
                    raise
        return memoryview(data).nbytes


def guard_streams() -> None:
    """Make the process's own standard output and error outlive their readers; open those that are closed."""
    for number in (0, 1, 2):  # or the next file that is opened would become standard output
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _quiet(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _quiet(sys.stderr, 2)


def _quiet(stream: TextIO | None, number: int) -> TextIO:
    """Return the stream over a QuietFile; what its encoding lacks is shown by its code."""
    lines = number == 2 or (stream is not None and (stream.line_buffering or getattr(stream, "write_through", False)))
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(QuietFile(number, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=bool(lines),
    )


def say(program: str, message: object) -> None:
    """Print one line on standard error, where progress, warnings and errors are shown."""
    print(printable(f"{program}: {message}"), file=sys.stderr)


def name_left_out(program: str, damaged: Iterable[str]) -> None:
    """Print what is wrong with each record that a table leaves out, once."""
    for damage in dict.fromkeys(damaged):
        say(program, f"left out: {damage}")


def show_result(text: str) -> None:
    """Print the result of a command on standard output; on a terminal, without control characters."""
    print(lines_for_terminal(text) if sys.stdout.isatty() else text)
