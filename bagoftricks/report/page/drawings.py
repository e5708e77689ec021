"""Pictures of a page that the records support, each with its words and numbers; the others with the reason."""

from collections.abc import Iterator
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.escape import Html
from bagoftricks.report.page.elements import bullets, element, joined, scrolled
from bagoftricks.report.page.findings import ReportedStudy
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers, save_drawing, svg_text
from bagoftricks.report.pictures.registry import PICTURES
from bagoftricks.report.styles import draw_table

PAGE_BYTES = 500 * 1024  # most of a page with one study; one with several has as much for each
WORDS_BYTES = 4096  # for the reasons why pictures are not there


def drawn(study: ReportedStudy) -> Iterator[tuple[str, Drawing | str]]:
    """Yield each kind of picture with its drawing, or the reason why there is none."""
    for kind, picture in PICTURES.items():
        why = picture.lacking(study.results)
        try:
            yield kind, why or picture.draw(study.results)
        except UserError as error:  # no matplotlib
            yield kind, str(error)


def pictures_section(study: ReportedStudy, room: int) -> Html:
    """Return the pictures of a study that fit into ``room`` bytes, and a line for each of the others."""
    figures, lacking = [], []
    left = room - WORDS_BYTES
    for kind, found in drawn(study):
        if isinstance(found, str):
            lacking.append(f"{kind}: {found}")
            continue
        made = picture_figure(found, f"{study.anchor}-{kind}")
        if len(made.encode()) > left:
            name = study.results.study.name
            lacking.append(f"{kind}: the page would be too large; bot-table study={name} plot={kind} file={kind}.svg")
            continue
        left -= len(made.encode())
        figures.append(made)
    shown = element("div", *figures, class_="figures") if figures else ""
    reasons = [element("p", "Not drawn, and why:", class_="small"), bullets(lacking, "notes")] if lacking else []
    return joined([element("h3", "Pictures", id=f"{study.anchor}-pictures"), shown, *reasons])


def picture_figure(drawing: Drawing, anchor: str) -> Html:
    """Return a figure with its caption and the numbers that it shows."""
    card = element("div", Html(svg_text(drawing, f"{anchor}-")), class_="card")
    numbers = scrolled(_numbers_table(drawing.numbers), f"Numbers of {drawing.title} ({anchor})")
    details = element("details", element("summary", "Numbers"), numbers)
    return element("figure", card, element("figcaption", drawing.caption), details, id=anchor)


def _numbers_table(numbers: DrawnNumbers) -> str:
    words = [at for at in range(len(numbers.headings)) if any(isinstance(row[at], str) for row in numbers.rows)]
    return draw_table(numbers.headings, [[_number(cell) for cell in row] for row in numbers.rows], words, "html")


def _number(cell: str | float | None) -> str:
    return f"{cell:.6g}" if isinstance(cell, int | float) else cell or ""


def save_pictures(study: ReportedStudy, folder: Path) -> list[Path]:
    """Write the pictures of a study into a folder as SVG files; return their paths."""
    paths = []
    for kind, found in drawn(study):
        if isinstance(found, Drawing):
            paths.append(folder / f"{study.results.study.name.replace('/', '--')}-{kind}.svg")
            save_drawing(found, paths[-1], "figures")
    return paths
