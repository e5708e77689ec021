"""One style for all pictures: colours and shapes for colour-blind readers, type that fits a column of a paper."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bagoftricks.errors import UserError, printable
from bagoftricks.report.text_table import fold
from bagoftricks.statistics.paired import NO_EFFECT, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.0  # inches: widths of one and of two columns of a paper
SIDE_BY_SIDE = 5.5  # inches from which on panels stand next to each other
# Okabe and Ito (2008), without the yellow, which is too pale for a line on white
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, PALE = "#767676", "#D9D9D9"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
DASHES = ("-", "--", "-.", ":")
SMALL = 6.5  # points
STYLE: dict[str, object] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "bagoftricks",
    "pdf.fonttype": 42,
}
LABEL_COLUMNS, LABEL_LINES = 24, 4  # of the name of an arm


class Mark(NamedTuple):
    """Mark of a verdict: a filled one for a verdict that stands, and for no effect of a size that matters."""

    shape: str
    colour: str
    filled: bool
    word: str

    @property
    def face(self) -> str:
        """Colour of the inside."""
        return self.colour if self.filled else "white"


HELPS, HURTS = Mark("^", BLUE, True, "helps"), Mark("v", VERMILLION, True, "hurts")
REFERENCE = Mark("s", BLACK, False, "no comparison")
NOTHING = Mark("o", BLACK, True, NO_EFFECT)
SEED = Mark(".", GREY, True, "single seeds")


def require_matplotlib(what: str = "") -> None:
    """Raise UserError about ``what`` unless matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(f"{what}pictures need matplotlib: pip install 'bagoftricks[plots]'") from error


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in the style, whatever the user's own settings of matplotlib are."""
    from matplotlib import style

    with style.context(STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an SVG has the text, and its reader's font
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # a legend of many arms has little room
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of that size in inches, which arranges its panels itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def fix_layout(figure: "Figure") -> None:
    """Arrange the panels for good, so that every file of the figure has them in the same places."""
    for _ in range(2):  # each one starts from what the last one found
        figure.draw_without_rendering()
    figure.set_layout_engine("none")


def drawn_text(text: str, columns: int = LABEL_COLUMNS, lines: int = LABEL_LINES) -> str:
    """Return text folded for a picture; in it, $ begins no formula."""
    folded = fold(printable(text), columns, indent="")
    if len(folded) > lines:
        folded = [*folded[: lines - 1], f"{folded[lines - 1][: columns - 1]}…"]
    return "\n".join(folded).replace("$", r"\$")


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign; below 0, a minus, not a hyphen."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval_text(comparison: Comparison) -> str:
    """Return the difference, with its interval if it has one."""
    if comparison.difference is None:
        return ""
    interval = (comparison.low, comparison.high)
    ends = [signed(end) for end in interval if end is not None]
    return signed(comparison.difference) + (f" [{', '.join(ends)}]" if ends else "")


def mark_of(comparison: Comparison | None) -> Mark:
    """Return the mark of a verdict; without a comparison, that of an arm that others are compared with."""
    if comparison is None:
        return REFERENCE
    known = {mark.word: mark for mark in (HELPS, HURTS)}
    word = comparison.verdict.partition(":")[0]
    if word.startswith(NO_EFFECT):
        return NOTHING
    short = comparison.verdict.replace("no interval, ", "") if comparison.n == 1 else word
    return known.get(word, Mark("o", GREY, False, short))


def draw_mark(axes: "Axes", x: float, y: float, mark: Mark) -> None:
    """Draw one mark."""
    axes.plot([x], [y], mark.shape, color=mark.colour, markerfacecolor=mark.face, zorder=4)


def draw_interval(axes: "Axes", low: float | None, high: float | None, y: float, colour: str) -> None:
    """Draw the interval of a mark along x, none where there is none."""
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], "-", color=colour, linewidth=1.2, solid_capstyle="butt", zorder=3)


def draw_seeds(axes: "Axes", values: Sequence[float], y: float) -> None:
    """Draw the values of single seeds as small dots under their mark."""
    axes.plot(values, [y + SEED_INCHES] * len(values), ".", color=GREY, markersize=3, markeredgewidth=0, zorder=2)


BELOW = 0.8  # inches under the rows, for the axis and the legend
SEED_INCHES, LINE_INCHES, ROW_INCHES = 0.075, 0.115, 0.25


@dataclass(frozen=True)
class ArmRows:
    """A row for each arm, from the top down; places are in inches."""

    labels: tuple[str, ...]
    places: tuple[float, ...]
    inches: float

    def arrange(self, axes: "Axes", named: bool = True) -> None:
        """Give the axes these rows; ``named``: with the arms' names on the left."""
        axes.set_yticks(self.places, self.labels if named else [""] * len(self.labels))
        axes.set_ylim(self.inches, 0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")


def arm_rows(labels: Sequence[str], columns: int = LABEL_COLUMNS) -> ArmRows:
    """Return rows high enough for the folded names of arms."""
    folded = [drawn_text(label, columns) for label in labels]
    heights = [max(ROW_INCHES, 0.06 + LINE_INCHES * (text.count("\n") + 1)) for text in folded]
    places = [sum(heights[:at]) + height / 2 for at, height in enumerate(heights)]
    return ArmRows(tuple(folded), tuple(places), sum(heights))


def row_panels(rows: ArmRows, count: int, width: float) -> "tuple[Figure, list[Axes]]":
    """Return a figure with panels over the same rows: next to each other if there is room, else one below the other."""
    if width >= SIDE_BY_SIDE or count == 1:
        figure = new_figure(width, rows.inches + BELOW)
        panels = list(figure.subplots(1, count, squeeze=False)[0])
    else:
        figure = new_figure(width, count * (rows.inches + BELOW - 0.2) + 0.2)
        panels = list(figure.subplots(count, 1, squeeze=False)[:, 0])
    for at, axes in enumerate(panels):
        rows.arrange(axes, named=at == 0 or width < SIDE_BY_SIDE)
    return figure, panels


def legend_of(compared: Iterable[Comparison | None]) -> list[Mark]:
    """Return the marks to explain: those of the verdicts that are drawn, then the dots of seeds."""
    verdicts = dict.fromkeys(mark_of(made)._replace(word="") for made in compared if made is None or made.n)
    words = {mark[:3]: mark.word for mark in (HELPS, HURTS, REFERENCE, NOTHING)}
    ordered = sorted(verdicts, key=lambda mark: [*words, mark[:3]].index(mark[:3]))
    return [*(mark._replace(word=words.get(mark[:3], "no verdict")) for mark in ordered), SEED]


def draw_legend(figure: "Figure", marks: Sequence[Mark], columns: int = 0) -> None:
    """Explain the marks under the figure, in as many columns as fit, or ``columns``."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=m.shape, color=m.colour, markerfacecolor=m.face, linestyle="", label=m.word)
        for m in marks
    ]
    space = {"handletextpad": 0.1, "columnspacing": 0.8, "borderaxespad": 0.1, "handlelength": 1.2}
    columns = columns or (4 if figure.get_figwidth() < SIDE_BY_SIDE else 8)
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, **space)
