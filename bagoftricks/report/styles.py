"""Tables, titles and notes in the styles of ``format=``; every text is made safe for its place here."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from bagoftricks.errors import printable
from bagoftricks.escape import for_csv, for_latex, for_markdown
from bagoftricks.report.text_table import Fit, fold, text_table

if TYPE_CHECKING:
    from tabulate import TableFormat

STYLES = ("text", "markdown", "latex")  # for people; csv and json are for programs
ESCAPES: dict[str, Callable[[object], str]] = {"text": printable, "markdown": for_markdown, "latex": for_latex}


def draw_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    left: Collection[int],
    style: str,
    fit: Fit | None = None,
) -> str:
    """Return a table of cells; the columns ``left`` are aligned left, the others right. None is an empty cell.

    A text table fits into ``fit``, by default into any width.
    """
    lines: list[Sequence[object]] = [headings, *rows]
    if style == "csv":
        return "\n".join(",".join(map(for_csv, line)) for line in lines)
    escape = ESCAPES[style]
    head, *cells = [["" if cell is None else escape(cell) for cell in line] for line in lines]
    if style == "text":
        return text_table(head, cells, left, fit)
    from tabulate import tabulate  # takes a moment that text does without

    align = ["left" if at in left else "right" for at in range(len(head))]
    form = "github" if style == "markdown" else _booktabs()
    table: str = tabulate(cells, head, form, disable_numparse=True, colalign=align)
    if style == "markdown":
        return table
    columns = "".join(side[0] for side in align)
    return f"\\begin{{tabular}}{{{columns}}}\n{table}\n\\end{{tabular}}"


def _booktabs() -> "TableFormat":
    """Return LaTeX's form without tabulate's own escapes, which are less than ours."""
    from tabulate import DataRow, Line, TableFormat

    row = DataRow("", " & ", r" \\")
    top, middle, bottom = (Line(rf"\{name}rule", "", "", "") for name in ("top", "mid", "bottom"))
    return TableFormat(top, middle, None, bottom, row, row, padding=0, with_header_hide=None)


def with_notes(table: str, notes: Sequence[str], style: str, fit: Fit | None = None) -> str:
    """Return a table with the notes under it, as the style has them."""
    if not notes or style in ("json", "csv"):
        return table
    return "\n".join([table, "", *(note_line(note, style, fit) for note in notes)])


def note_line(note: str, style: str, fit: Fit | None = None) -> str:
    """Return a note on lines of its own, in LaTeX a comment."""
    if style == "markdown":
        return f"- {for_markdown(note)}"
    return f"% {printable(note)}" if style == "latex" else _folded(note, fit)


def title_line(title: str, style: str, fit: Fit | None = None) -> str:
    """Return the title above a table."""
    if style == "markdown":
        return f"**{for_markdown(title)}**\n"
    return f"% {printable(title)}" if style == "latex" else _folded(title, fit)


def _folded(text: str, fit: Fit | None) -> str:
    return printable(text) if fit is None else "\n".join(fold(printable(text), fit.width))
