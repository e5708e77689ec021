"""Pictures as commands make them: plot=KIND file=FILE width=INCHES, their words on standard output."""

from collections.abc import Collection
from dataclasses import dataclass

from bagoftricks.cli.layout import terminal_fit
from bagoftricks.errors import UserError, printable
from bagoftricks.escape import for_json
from bagoftricks.report.pictures.drawing import Drawing, check_picture_file, save_drawing
from bagoftricks.report.pictures.kinds import STUDY_KINDS
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.report.study_results import StudyResults
from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import fold

NARROWEST, WIDEST = 2.5, 30.0  # inches


@dataclass(frozen=True)
class PictureRequest:
    """Picture that is asked for; without a kind, the list of kinds."""

    kind: str
    file: str
    width: float
    style: str  # of the words

    @classmethod
    def of(cls, kind: str, file: str, width: str, style: str) -> "PictureRequest":
        """Return the request as typed. Raises UserError for what cannot be drawn or written."""
        if kind and not file:
            raise UserError(f"plot={kind} needs a file: add file={kind}.svg (or .pdf, .png)")
        if kind:
            check_picture_file("file", file)
        return cls(kind, file, picture_width(width), style)

    def of_study(self, results: StudyResults, kinds: Collection[str] = STUDY_KINDS) -> str:
        """Draw a study, or list the kinds of pictures with what is lacking for each; return the words."""
        if self.kind:
            return self.write(study_picture(self.kind, results, self.width))
        rows = [(kind, STUDY_KINDS[kind], PICTURES[kind].lacking(results)) for kind in kinds]
        if self.style == "json":
            return for_json([{"plot": kind, "about": about, "lacking": why} for kind, about, why in rows])
        fit = terminal_fit("format=markdown shows all")
        return draw_table(("plot=", "shows", "lacking"), rows, {0, 1, 2}, self.style, fit)

    def write(self, drawing: Drawing) -> str:
        """Write the file; return what it shows in words, in JSON with its numbers, in CSV the numbers alone."""
        save_drawing(drawing, self.file)
        numbers = drawing.numbers
        if self.style == "csv":
            return draw_table(numbers.headings, numbers.rows, (), "csv")
        words = {"title": drawing.title, "description": drawing.description, "caption": drawing.caption}
        if self.style == "json":
            rows = [dict(zip(numbers.headings, row, strict=True)) for row in numbers.rows]
            return for_json({"file": self.file, **words, "numbers": rows})
        fit = terminal_fit("")
        texts = [printable(f"{self.file}: {drawing.title}"), printable(drawing.description), printable(drawing.caption)]
        return "\n\n".join("\n".join(fold(text, fit.width, "")) if fit else text for text in texts)


def picture_width(text: str) -> float:
    """Return a width in inches as typed. Raises UserError for one in which nothing can be drawn."""
    try:
        width = float(text)
    except ValueError as error:
        raise UserError(f"width={text}: must be a number of inches") from error
    if not NARROWEST <= width <= WIDEST:
        raise UserError(f"width={text}: must be between {NARROWEST:g} and {WIDEST:g} inches")
    return width
