"""Tables, titles and notes in the styles of ``format=``; every text is made safe for its place here."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from bagoftricks.errors import printable
from bagoftricks.escape import for_csv, for_html, for_latex, for_markdown
from bagoftricks.report.column import TracedText
from bagoftricks.report.text_table import Fit, fold, text_table

if TYPE_CHECKING:
    from tabulate import TableFormat

STYLES = ("text", "markdown", "latex", "html")  # for people; csv and json are for programs
ESCAPES: dict[str, Callable[[object], str]] = {
    "text": printable,
    "markdown": for_markdown,
    "latex": for_latex,
    "html": for_html,
}
STRUCK = {"text": "({})", "markdown": "~~{}~~", "latex": "({})", "html": "<s>{}</s>"}


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
    if style == "html":
        return html_table(headings, lines[1:], left)
    head, *cells = [["" if cell is None else shown_cell(cell, style) for cell in line] for line in lines]
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


def shown_cell(cell: object, style: str) -> str:
    """Return a cell made safe for its place, crossed out if it is no result; in plain text and LaTeX in parentheses."""
    text = ESCAPES[style](cell)
    return STRUCK[style].format(text) if isinstance(cell, TracedText) and cell.struck else text


def html_table(headings: Sequence[str], rows: Iterable[Sequence[object]], left: Collection[int]) -> str:
    """Return a table whose cells name the runs that they are made of; numbers have the class ``number``."""
    head = "".join(f'<th scope="col"{_html_class(at, left)}>{for_html(cell)}</th>' for at, cell in enumerate(headings))
    body = "\n".join(f"<tr>{''.join(_html_cell(at, cell, left) for at, cell in enumerate(row))}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _html_cell(at: int, cell: object, left: Collection[int]) -> str:
    text = "" if cell is None else shown_cell(cell, "html")
    if at == 0:
        return f'<th scope="row"{_html_class(at, left)}>{text}</th>'
    runs = f' data-runs="{for_html(" ".join(cell.runs))}"' if isinstance(cell, TracedText) and cell.runs else ""
    return f"<td{_html_class(at, left)}{runs}>{text}</td>"


def _html_class(at: int, left: Collection[int]) -> str:
    return "" if at in left else ' class="number"'


def latex_float(table: str, caption: str, label: str, comments: Sequence[str]) -> str:
    """Return a LaTeX table as a float with its caption and label, and lines of comments above it."""
    above = [note_line(comment, "latex") for comment in comments]
    name = re.sub("[^A-Za-z0-9:.-]+", "-", label).strip("-")
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{for_latex(caption)}}}", rf"\label{{tab:{name}}}", table]
    return "\n".join([*above, *lines, r"\end{table}"])


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
    if style == "html":
        return "\n".join([table, '<ul class="notes">', *(f"<li>{for_html(note)}</li>" for note in notes), "</ul>"])
    return "\n".join([table, "", *(note_line(note, style, fit) for note in notes)])


def note_line(note: str, style: str, fit: Fit | None = None) -> str:
    """Return a note on lines of its own, in LaTeX a comment."""
    if style == "markdown":
        return f"- {for_markdown(note)}"
    if style == "html":
        return f"<p>{for_html(note)}</p>"
    return f"% {printable(note)}" if style == "latex" else _folded(note, fit)


def title_line(title: str, style: str, fit: Fit | None = None) -> str:
    """Return the title above a table."""
    if style == "markdown":
        return f"**{for_markdown(title)}**\n"
    if style == "html":
        return f"<h2>{for_html(title)}</h2>"
    return f"% {printable(title)}" if style == "latex" else _folded(title, fit)


def _folded(text: str, fit: Fit | None) -> str:
    return printable(text) if fit is None else "\n".join(fold(printable(text), fit.width))
