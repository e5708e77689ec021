"""Report of a data set, as text that fits 80 columns or as Markdown."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from textwrap import fill, wrap
from typing import Any

from bagoftricks.errors import printable
from bagoftricks.report.styles import draw_table, note_line, title_line
from bagoftricks.run.inspection import SPLIT_NAMES, Extent, Inspection, SplitFacts

INSPECTION_STYLES = ("text", "markdown", "html", "json")
WIDTH, INDENT, CELL = 80, 17, 28  # characters
UNBROKEN: dict[str, Any] = {
    "break_long_words": False,
    "break_on_hyphens": False,
}  # paths and commands are not broken up
MOST_CLASSES, ENDS_SHOWN = 20, 5  # of more classes, the largest and the smallest are shown
MOST_SHOWN = 10  # names in a list


def inspection_text(found: Inspection, style: str) -> str:
    """Return the report as text or Markdown, with the ends of long lists."""
    parts = [
        _headline(found, style),
        _class_table(found, style),
        _split_table(found, style),
        _list("Files that cannot be read", [line for of in found.splits.values() for line in of.broken], style),
        _list("Images that occur more than once", [_twin_line(twins.names) for twins in found.twins], style),
        _facts("What a run does with the images", found.treatment, style),
        _facts("Mean and deviation of the training images", _to_type(found), style),
        _list("Notes", found.notes, style),
        _list("Wrong", found.wrong, style) or title_line("Nothing is wrong", style),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part)


def _headline(found: Inspection, style: str) -> str:
    counts = " and ".join(f"{of.images:,} {SPLIT_NAMES[name]}" for name, of in found.splits.items())
    line = f"{found.name}: {counts} images of {len(found.classes)} classes, seen at {found.pixels} pixels"
    return "\n".join([_folded(title_line(line, style), style, "", 0), note_line(f"digest {found.digest}", style)])


def _class_table(found: Inspection, style: str) -> str:
    train = found.splits["train"].counts
    numbers = sorted(range(len(found.classes)), key=lambda number: -train[number])
    left_out = len(numbers) - 2 * ENDS_SHOWN if len(numbers) > MOST_CLASSES else 0
    shown = [*numbers[:ENDS_SHOWN], *numbers[-ENDS_SHOWN:]] if left_out else range(len(numbers))
    rows = [[found.classes[n], *(f"{of.counts[n]:,}" for of in found.splits.values())] for n in shown]
    if left_out:
        rows.insert(ENDS_SHOWN, [f"... {left_out:,} classes", "", ""])
    return draw_table(["class", *(SPLIT_NAMES[name] for name in found.splits)], rows, {0}, style)


def _split_table(found: Inspection, style: str) -> str:
    splits = list(found.splits.values())
    rows = [
        ["height", *(_extent(of.height) for of in splits)],
        ["width", *(_extent(of.width) for of in splits)],
        ["enlarged", *(f"{of.enlarged:,}" for of in splits)],
        ["formats", *(_counted(of.formats) for of in splits)],
        ["unusual", *(_counted(of.traits) for of in splits)],
        ["unreadable", *(f"{len(of.broken):,}" for of in splits)],
        ["ignored files", *(_ignored(of) for of in splits)],
    ]
    headings = ["images", *(SPLIT_NAMES[name] for name in found.splits)]
    if style != "text":
        return draw_table(headings, rows, {0, 1, 2}, style)
    return draw_table(headings, [line for row in rows for line in _lines_of(row)], {0, 1, 2}, style)


def _lines_of(row: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the lines of a row whose cells are folded."""
    return list(zip_longest(*(wrap(cell, CELL, **UNBROKEN) for cell in row), fillvalue=""))


def _extent(values: Extent | None) -> str:
    return "" if values is None else f"{values.min} / {values.median:g} / {values.max} (min/median/max)"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _ignored(of: SplitFacts) -> str:
    return _counted({name or "no suffix": count for name, count in of.ignored.items()})


def _to_type(found: Inspection) -> dict[str, str]:
    def typed(values: Sequence[float]) -> str:
        return "[" + ",".join(f"{value:g}" for value in values) + "]"

    return {
        "measured": f"'data.mean={typed(found.mean)}' 'data.std={typed(found.std)}'",
        "set": f"'data.mean={typed(found.set_mean)}' 'data.std={typed(found.set_std)}'",
    }


def _twin_line(names: Sequence[str]) -> str:
    return " = ".join(names[:MOST_SHOWN])


# --- parts of a page ---


def _list(title: str, lines: Sequence[str], style: str) -> str:
    """Return lines under a title; nothing without lines."""
    if not lines:
        return ""
    more = len(lines) - MOST_SHOWN
    shown = [*lines[:MOST_SHOWN], *([f"... {more:,} more"] if more > 0 else [])]
    return "\n".join([title_line(title, style), *(_folded(note_line(line, style), style, "  ") for line in shown)])


def _facts(title: str, facts: Mapping[str, str], style: str) -> str:
    """Return named lines under a title."""
    if style != "text":
        return _list(title, [f"{name}: {line}" for name, line in facts.items()], style)
    lines = [_folded(printable(line), style, f"  {name:{INDENT - 2}}", INDENT) for name, line in facts.items()]
    return "\n".join([title_line(title, style), *lines])


def _folded(line: str, style: str, first: str, indent: int = 4) -> str:
    if style != "text":
        return line
    return fill(line, WIDTH, initial_indent=first, subsequent_indent=" " * indent, **UNBROKEN)
