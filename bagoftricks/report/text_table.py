"""Text tables that fit a terminal: the first columns are kept, long texts are folded, no line is wider.

The order of the columns is their importance. Without a width nothing is folded or left out.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple
from unicodedata import combining, east_asian_width

BLANKS = 2  # blanks between columns
NARROW, LEAST = 24, 8  # columns of a text that is folded, and of one that would not fit otherwise
PIECE = re.compile("(?:[+\N{MINUS SIGN}] )?\\S+\\s*|\\s+")  # a trick with the sign before it, or a word


class Fit(NamedTuple):
    """Width of the terminal in columns, and what to type to see what does not fit."""

    width: int
    more: str = "format=markdown shows all"


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int], fit: Fit | None) -> str:
    """Return a table of printable cells, the columns ``left`` aligned left, and a line about what did not fit."""
    if not heads:
        return ""
    natural = [max(map(text_width, column)) for column in zip(heads, *rows, strict=True)]
    if fit is None:
        kept, widths = list(range(len(heads))), natural
    else:
        kept, widths = _fitting(heads, rows, left, fit.width)
    lines = [*_lines([heads[at] for at in kept], widths, kept, left, indent="")]
    lines.append((" " * BLANKS).join("-" * width for width in widths))
    for row in rows:
        lines += _lines([row[at] for at in kept], widths, kept, left, indent="  ")
    if fit is not None and len(kept) < len(heads):
        names = ", ".join(head for at, head in enumerate(heads) if at not in kept)
        lines += ["", *fold(f"left out to fit {fit.width} columns: {names} ({fit.more})", fit.width)]
    return "\n".join(lines)


def fold(text: str, width: int, indent: str = "  ") -> list[str]:
    """Return the lines of a text, none wider than ``width``: folded before a trick's sign and between words."""
    if text_width(text) <= width:
        return [text]
    indent = indent if width > LEAST else ""
    lines = [""]
    for piece in PIECE.findall(text):
        if lines[-1].strip() and text_width(lines[-1] + piece.rstrip()) > width:
            lines.append(indent)
        lines[-1] += piece
        while text_width(lines[-1].rstrip()) > width:
            cut = _cut(lines[-1], width)
            lines[-1:] = [lines[-1][:cut], indent + lines[-1][cut:]]
    return [line.rstrip() for line in lines if line.strip()]


def text_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: a wide character takes two, a combining one none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> int:
    """Return the number of characters that fit, at least one; a long path is cut after a folder."""
    fits = next((at for at in range(len(text), 0, -1) if text_width(text[:at]) <= width), 1)
    after = max(text.rfind(mark, 0, fits) for mark in "/,(") + 1
    return after if after > fits // 2 else fits


def _fitting(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int], width: int
) -> tuple[list[int], list[int]]:
    """Return the columns that fit, and their widths: what is left over goes to texts, then to headings."""
    columns = [_widths(head, [row[at] for row in rows], at in left) for at, head in enumerate(heads)]
    widths = {0: min(columns[0][1], max(LEAST, width // 3), width)}
    room = width - widths[0]
    for at, (least, enough, _) in enumerate(columns[1:], 1):
        needed = enough if BLANKS + enough <= room else least
        if BLANKS + needed <= room:
            widths[at] = needed
            room -= BLANKS + needed
    for at in sorted(widths, key=lambda at: (at > 0, at not in left, at)):
        more = min(room, columns[at][2] - widths[at])
        widths[at] += more
        room -= more
    return list(widths), list(widths.values())


def _widths(head: str, cells: Sequence[str], is_text: bool) -> tuple[int, int, int]:
    """Return the least width of a column, one that is enough, and that without folding."""
    natural = max((text_width(cell) for cell in cells), default=1)
    pieces = [text_width(piece.rstrip()) for cell in cells for piece in PIECE.findall(cell)] if is_text else []
    word = max((text_width(word) for word in head.split()), default=1)
    least = min(max(pieces, default=0), NARROW) if is_text else natural
    return max(least, word), max(min(natural, NARROW) if is_text else natural, word), max(natural, text_width(head))


def _lines(
    cells: Sequence[str], widths: Sequence[int], kept: Sequence[int], left: Collection[int], indent: str
) -> Iterator[str]:
    """Yield the lines of a row whose cells are folded to the widths."""
    folded = [fold(cell, width, indent) for cell, width in zip(cells, widths, strict=True)]
    at_left = {number for number, at in enumerate(kept) if at in left}
    for parts in zip_longest(*folded, fillvalue=""):
        yield (" " * BLANKS).join(pad_cells(parts, widths, at_left)).rstrip()


def pad_cells(cells: Sequence[str], widths: Sequence[int], left: Collection[int]) -> list[str]:
    """Return the cells of a line, each as wide as its column."""
    pads = [" " * (width - text_width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return [cell + pad if at in left else pad + cell for at, (cell, pad) in enumerate(zip(cells, pads, strict=True))]
