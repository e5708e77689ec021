"""Pictures of an evaluation: the confusion matrix, the reliability diagram and the worst mistakes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bagoftricks.errors import UserError, printable
from bagoftricks.folders import local_path
from bagoftricks.report.contact_sheet import write_sheet
from bagoftricks.report.details import Details
from bagoftricks.report.pictures.style import styled
from bagoftricks.run.evaluation import Subject
from bagoftricks.run.seen import captioned_rows
from bagoftricks.store.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES_OF_FIGURES = (".png", ".svg", ".pdf")
MOST_DRAWN, MOST_WRITTEN = 40, 20  # classes of a matrix, and of one whose counts are written into it
LONGEST_NAME_DRAWN = 24  # characters of a class name
MISTAKES_ACROSS, MISTAKES_SHOWN = 6, 30
GREY, BLUE, DARK = "0.6", "#4878a8", "0.2"


def check_figure_file(name: str, out: str) -> None:
    """Raise UserError unless ``out`` can be drawn: its suffix is known, and matplotlib is there."""
    if Path(out).suffix.lower() not in SUFFIXES_OF_FIGURES:
        raise UserError(f"{name}={out}: the name must end in {', '.join(SUFFIXES_OF_FIGURES)} (true: a table)")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(f"{name}={out}: pictures need matplotlib: pip install 'bagoftricks[plots]'") from error


def write_confusion(of: Details, out: str) -> None:
    """Draw the confusion matrix: shares of each class in colours, counts of few classes in numbers."""
    numbers = _drawn_classes(of)
    place = {number: at for at, number in enumerate(numbers)}
    images = {score.number: score.images for score in of.classes}
    counts = np.zeros((len(numbers), len(numbers)), np.int64)
    for each in of.confusion:
        if each.label in place and each.predicted in place:
            counts[place[each.label], place[each.predicted]] = each.images
    shares = counts / np.maximum([[images[number]] for number in numbers], 1)
    titles = [_short(of.title(number)) for number in numbers]
    side = 2.5 + 0.32 * len(numbers) + 0.07 * max(map(len, titles))
    left_out = len(of.classes) - len(numbers)
    of_classes = f"the {len(numbers)} of {len(of.classes):,} classes that are confused most" if left_out else ""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        shown = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        axes.set_xticks(range(len(numbers)), titles, rotation=90)
        axes.set_yticks(range(len(numbers)), titles)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("class")
        axes.set_title(of_classes, fontsize="medium")
        if len(numbers) <= MOST_WRITTEN:
            _write_counts(axes, counts, shares)
        figure.colorbar(shown, label="% of the images of the class", shrink=0.7)

    _save("confusion", out, (side + 1.2, side), draw)


def _drawn_classes(of: Details) -> list[int]:
    """Return the classes of a picture: all, or of many those with the most confusions, in their order."""
    confused = {score.number: 0 for score in of.classes}
    for each in of.confusion:
        if each.label != each.predicted:
            confused[each.label] += each.images
            confused[each.predicted] += each.images
    most = sorted(confused, key=lambda number: -confused[number])[:MOST_DRAWN]
    return sorted(most)


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else DARK
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize="small")


def write_calibration(of: Details, out: str) -> None:
    """Draw the reliability diagram: accuracy over confidence with 95 % Wilson intervals, and the number of images."""
    from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]

    bins = [each for each in of.bins if each.confidence is not None and each.accuracy is not None]
    confidence = np.array([each.confidence for each in bins]) * 100
    accuracy = np.array([each.accuracy for each in bins]) * 100
    images = np.array([each.images for each in bins])
    low, high = proportion_confint(np.rint(accuracy * images / 100), images, method="wilson")

    def draw(figure: "Figure") -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot([0, 100], [0, 100], color=GREY, linestyle="--", label="calibrated")
        spread = np.abs([accuracy - 100 * low, 100 * high - accuracy])
        above.errorbar(confidence, accuracy, spread, color=BLUE, marker="o", capsize=3, label="this network")
        above.set_ylabel("right (%)")
        above.set_ylim(-2, 102)
        above.set_title("" if of.ece is None else f"ECE {of.ece:.2f} %", fontsize="medium")
        above.legend(loc="upper left", frameon=False)
        lows, width = [100 * each.low for each in of.bins], 100 * (of.bins[0].high - of.bins[0].low)
        below.bar(lows, [each.images for each in of.bins], width, align="edge", color=BLUE, edgecolor="white")
        below.set_ylabel("images")
        below.set_xlabel("probability of the predicted class (%)")
        below.set_xlim(-2, 102)

    _save("calibration", out, (5, 5.5), draw)


def write_mistakes(subject: Subject, of: Details, out: str) -> None:
    """Write the most confident mistakes as a PNG: class, prediction with its probability, and file."""
    captions = {
        each.row: f"is {of.title(each.label)}\n{100 * each.probability:.1f} % {of.title(each.predicted)}\n"
        + each.file.rpartition("/")[2]
        for each in of.mistakes[:MISTAKES_SHOWN]
    }
    write_sheet(captioned_rows(subject.data.val, subject.augment, captions, MISTAKES_ACROSS), out, "mistakes")


def _short(name: str) -> str:
    """Return a class name for a picture, in which $ begins no formula."""
    cut = name if len(name) <= LONGEST_NAME_DRAWN else f"{name[: LONGEST_NAME_DRAWN - 3]}..."
    return printable(cut).replace("$", r"\$")


def _save(name: str, out: str, inches: tuple[float, float], draw: Callable[["Figure"], None]) -> None:
    from matplotlib.figure import Figure

    kind = Path(out).suffix[1:].lower()
    undated: dict[str, dict[str, str | None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with styled():
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        try:
            save = partial(figure.savefig, format=kind, dpi=150, metadata=undated.get(kind))
            write_whole(local_path(name, out), save)
        except OSError as error:
            raise UserError(f"{name}={out}: cannot be written ({error.strerror})") from error
