"""Tables, titles and notes in the styles of ``format=``; every text is made safe for its place here."""

from collections.abc import Callable, Collection, Iterable, Sequence

from bagoftricks.errors import printable
from bagoftricks.escape import for_csv, for_latex, for_markdown
from bagoftricks.report.text_table import Fit, fold, pad_cells, text_table, text_width

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
    return _latex(head, cells, left) if style == "latex" else _markdown(head, cells, left)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    widths = [max(3, *map(text_width, column)) for column in zip(head, *rows, strict=True)]
    rule = [f":{'-' * (w - 1)}" if at in left else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    lines = [pad_cells(line, widths, left) for line in (head, rule, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """Return a table for the package booktabs."""
    first, *others = [" & ".join(line) + r" \\" for line in (head, *rows)]
    columns = "".join("l" if at in left else "r" for at in range(len(head)))
    lines = [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", first, r"\midrule", *others, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"])


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
