"""Text laid out for the width of the terminal."""

import os
import sys
from collections.abc import Iterable
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bagoftricks.report.text_table import Fit

WIDEST, NARROWEST = 100, 20  # wider lines are hard to read
TERM = 26  # columns of a term, if the text about it stands next to it


def line_width() -> int:
    """Return the columns of a line: the terminal's, or 80 where there is none."""
    return max(NARROWEST, min(get_terminal_size().columns, WIDEST))


def terminal_fit(more: str = "format=markdown shows all") -> "Fit | None":
    """Return the width of the terminal, or of COLUMNS, for tables on standard output; None for a pipe or a file.

    ``more``: what to type to see the columns that do not fit.
    """
    from bagoftricks.report.text_table import Fit

    if not sys.stdout.isatty() and os.environ.get("COLUMNS", "0") in ("", "0"):
        return None
    return Fit(max(NARROWEST, get_terminal_size().columns), more)


def has_blocks(encoding: str | None) -> bool:
    """Return True if an encoding has block characters."""
    from bagoftricks.report.curve_text import BARS

    try:
        BARS[True].encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def paragraph(text: str, indent: int = 0) -> list[str]:
    """Return the lines of a text."""
    pad = " " * indent
    return wrap(
        text,
        line_width(),
        initial_indent=pad,
        subsequent_indent=pad,
        break_long_words=False,
        break_on_hyphens=False,
    )


def entry_lines(entries: Iterable[tuple[str, str]], indent: int = 2) -> list[str]:
    """Return terms with the texts about them in a second column, or below those that are too long for that."""
    entries = list(entries)
    longest = max((len(term) for term, _ in entries if len(term) <= TERM), default=0)
    column = indent + longest + 2
    if column > line_width() // 2:  # no room for two columns
        column = indent + 2
    lines = []
    for term, about in entries:
        text = paragraph(about, column)
        head = " " * indent + term
        if text and len(head) + 2 <= column:
            head = head.ljust(column) + text.pop(0).strip()
        lines += [head, *text]
    return lines


def example_lines(examples: Iterable[tuple[str, str]], indent: int = 2) -> list[str]:
    """Return lines to type, each whole, with the texts about them where there is room."""
    lines = []
    for line, about in examples:
        head = f"{' ' * indent}{line}"
        note = f"{head.ljust(44)}  # {about}"
        lines.append(note if about and len(note) <= line_width() else head)
    return lines
