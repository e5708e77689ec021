"""Columns of tables."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A key of a row with its heading and the text of its value."""

    key: str
    heading: str
    show: Callable[[Any], str] = str
