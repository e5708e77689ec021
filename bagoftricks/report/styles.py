"""Tables, titles and notes in the styles of ``format=``; every text is made safe for its place here."""

from collections.abc import Callable, Collection, Iterable, Sequence

from tabulate import DataRow, Line, TableFormat, tabulate

from bagoftricks.errors import printable
from bagoftricks.escape import for_csv, for_latex, for_markdown

ROW = DataRow("", " & ", r" \\")
BOOKTABS = TableFormat(  # tabulate's own escapes too, and less
    lineabove=Line(r"\toprule", "", "", ""),
    linebelowheader=Line(r"\midrule", "", "", ""),
    linebetweenrows=None,
    linebelow=Line(r"\bottomrule", "", "", ""),
    headerrow=ROW,
    datarow=ROW,
    padding=0,
    with_header_hide=None,
)
STYLES: dict[str, str | TableFormat] = {"text": "simple", "markdown": "github", "latex": BOOKTABS}
ESCAPES: dict[str, Callable[[object], str]] = {"text": printable, "markdown": for_markdown, "latex": for_latex}


def draw_table(headings: Sequence[str], rows: Iterable[Sequence[object]], left: Collection[int], style: str) -> str:
    """Return a table of cells; the columns ``left`` are aligned left, the others right. None is an empty cell."""
    lines: list[Sequence[object]] = [headings, *rows]
    if style == "csv":
        return "\n".join(",".join(map(for_csv, line)) for line in lines)
    escape = ESCAPES[style]
    head, *cells = [["" if cell is None else escape(cell) for cell in line] for line in lines]
    align = ["left" if number in left else "right" for number in range(len(head))]
    table: str = tabulate(cells, head, STYLES[style], disable_numparse=True, colalign=align)
    if style != "latex":
        return table
    columns = "".join(side[0] for side in align)
    return f"\\begin{{tabular}}{{{columns}}}\n{table}\n\\end{{tabular}}"


def with_notes(table: str, notes: Sequence[str], style: str) -> str:
    """Return a table with the notes under it, as the style has them."""
    if not notes or style in ("json", "csv"):
        return table
    return "\n".join([table, "", *(note_line(note, style) for note in notes)])


def note_line(note: str, style: str) -> str:
    """Return a note on a line of its own, in LaTeX a comment."""
    return {"markdown": f"- {for_markdown(note)}", "latex": f"% {printable(note)}"}.get(style, printable(note))


def title_line(title: str, style: str) -> str:
    """Return the title above a table."""
    return {"markdown": f"**{for_markdown(title)}**\n", "latex": f"% {printable(title)}"}.get(style, printable(title))
