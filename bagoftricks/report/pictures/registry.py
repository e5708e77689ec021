"""Kinds of pictures of a study, by the name that is typed."""

from collections.abc import Callable
from dataclasses import dataclass

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.report.pictures import corrupted, curves, effects, forest, ladder, pareto, resolution
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.kinds import STUDY_KINDS
from bagoftricks.report.pictures.material import Material, material
from bagoftricks.report.pictures.style import COLUMN, fix_layout, require_matplotlib, styled
from bagoftricks.report.study_results import StudyResults


@dataclass(frozen=True)
class PictureKind:
    """Kind of picture of a study."""

    about: str
    lacks: Callable[[Material], str]
    draws: Callable[[Material, float], Drawing]

    def lacking(self, results: StudyResults) -> str:
        """Return why the records do not support the picture, an empty text if they do."""
        return self._lacking(material(results))

    def draw(self, results: StudyResults, width: float = COLUMN) -> Drawing:
        """Return the picture, ``width`` inches wide. Raises UserError if the records do not support it."""
        of = material(results)
        if why := self._lacking(of):
            raise UserError(why)
        require_matplotlib()
        with styled():
            drawing = self.draws(of, width)
            fix_layout(drawing.figure)
        return drawing

    def _lacking(self, of: Material) -> str:
        return self.lacks(of) if of.results.every_record else "no run of the study is finished"


FUNCTIONS: dict[str, tuple[Callable[[Material], str], Callable[[Material, float], Drawing]]] = {
    "forest": (forest.lacks_forest, forest.draw_forest),
    "ladder": (ladder.lacks_ladder, ladder.draw_ladder),
    "curves": (curves.lacks_curves, curves.draw_curves),
    "pareto": (pareto.lacks_pareto, pareto.draw_pareto),
    "effects": (effects.lacks_effects, effects.draw_effects),
    "resolution": (resolution.lacks_resolution, resolution.draw_resolution),
    "corruptions": (corrupted.lacks_corruptions, corrupted.draw_corruptions),
}
PICTURES = {kind: PictureKind(about, *FUNCTIONS[kind]) for kind, about in STUDY_KINDS.items()}


def study_picture(kind: str, results: StudyResults, width: float = COLUMN) -> Drawing:
    """Return the picture of that kind of a study. Raises UserError for an unknown kind, or if the records lack it."""
    if kind not in PICTURES:
        raise UserError(f"plot={kind}: must be one of {', '.join(PICTURES)}{did_you_mean(kind, PICTURES)}")
    try:
        return PICTURES[kind].draw(results, width)
    except UserError as error:
        raise UserError(f"plot={kind}: {error}") from error
