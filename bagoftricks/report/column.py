"""Columns and cells of tables."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A key of a row with its heading and the text of its value."""

    key: str
    heading: str
    show: Callable[[Any], str] = str


class TracedText(str):
    """Text of a cell that knows the ids of its runs; ``struck``: it is no result, and is crossed out."""

    runs: tuple[str, ...]
    struck: bool

    def __new__(cls, text: str, runs: tuple[str, ...] = (), *, struck: bool = False) -> "TracedText":
        cell = super().__new__(cls, text)
        cell.runs, cell.struck = runs, struck and bool(text)
        return cell
