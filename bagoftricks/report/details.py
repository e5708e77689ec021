"""Details of an evaluation: accuracy by class, confusions, calibration and the most confident mistakes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from bagoftricks.errors import as_text
from bagoftricks.measure.predictions import (
    CalibrationBin,
    ClassScore,
    Confusion,
    Numbers,
    calibration,
    class_scores,
    confusions,
    worst_mistakes,
)
from bagoftricks.report.predictions import class_title, name_of
from bagoftricks.report.styles import draw_table, note_line, title_line
from bagoftricks.report.text_table import Fit
from bagoftricks.run.evaluation import Evaluated, Subject
from bagoftricks.run.inspection import image_name
from bagoftricks.store.json_fields import Json

MISTAKES = 60  # that are listed
MOST_LINES = 20  # of a table that people read
MATRIX_CLASSES = 10  # of a matrix that fits 80 columns


@dataclass(frozen=True)
class Mistake:
    """Image of class ``label`` for which another class was predicted, with its probability; ``row``: of the split."""

    row: int
    file: str
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Details:
    """Predictions of one weight set for the validation images, by class, confidence and image."""

    weights: str
    names: tuple[str, ...]  # of the first outputs, if they are known
    ece: float | None  # in percent
    classes: tuple[ClassScore, ...]  # those that occur, the worst first
    confusion: tuple[Confusion, ...]
    bins: tuple[CalibrationBin, ...]
    mistakes: tuple[Mistake, ...]  # the most confident ones
    wrong: int  # images

    def title(self, number: int) -> str:
        return class_title(name_of(self.names, number), number)

    def values(self) -> Json:
        """Return the details as a JSON object, whose keys users read. Classes without a name are null."""

        def name(number: int | None) -> str | None:
            return None if number is None else name_of(self.names, number)

        by_class = [
            {"class": name(each.number), "top1": each.top1, **asdict(each), "confused_with": name(each.confused_with)}
            for each in self.classes
        ]
        pairs = [
            {
                "class": name(each.label),
                "predicted": name(each.predicted),
                "numbers": [each.label, each.predicted],
                "images": each.images,
            }
            for each in self.confusion
        ]
        mistakes = [
            {
                "file": as_text(each.file),
                "class": name(each.label),
                "predicted": name(each.predicted),
                "numbers": [each.label, each.predicted],
                "probability": each.probability,
            }
            for each in self.mistakes
        ]
        bins = {"ece": self.ece, "bins": [asdict(each) for each in self.bins]}
        return {"by_class": by_class, "confusion": pairs, "calibration": bins, "mistakes": mistakes}


def details_of(subject: Subject, found: Evaluated) -> Details:
    """Return the details of an evaluated weight set."""
    split, predictions = subject.data.val, found.predictions
    assert predictions is not None, "details are of classes"
    labels: Numbers = split.labels[found.rows]
    pairs = confusions(labels, predictions.first)
    occurring = {number for each in pairs for number in (each.label, each.predicted)}
    scores = [score for score in class_scores(pairs, subject.num_classes) if score.number in occurring]
    right = predictions.first == labels
    mistakes = [
        Mistake(
            int(found.rows[at]),
            image_name(split, "val", int(found.rows[at])),
            int(labels[at]),
            int(predictions.first[at]),
            float(predictions.confidence[at]),
        )
        for at in worst_mistakes(predictions, labels, MISTAKES)
    ]
    return Details(
        weights=found.weights,
        names=tuple(subject.names),
        ece=found.scores.ece,
        classes=tuple(sorted(scores, key=lambda score: 101.0 if score.top1 is None else score.top1)),
        confusion=tuple(pairs),
        bins=tuple(calibration(predictions.confidence, right)),
        mistakes=tuple(mistakes),
        wrong=int(np.count_nonzero(~right)),
    )


# --- tables ---


class DetailTable(NamedTuple):
    """Cells under headings, the columns ``left`` aligned left; of many ``rows``, the first ones are shown."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: set[int]
    what: str  # in a row
    total: int | None = None  # rows, if those here are not all

    def text(self, style: str, fit: Fit | None) -> str:
        """Return the beginning of the table, with the number of rows that are left out."""
        more = (len(self.rows) if self.total is None else self.total) - MOST_LINES
        table = draw_table(self.headings, self.rows[:MOST_LINES], self.left, style, fit)
        return table if more <= 0 else f"{table}\n{note_line(f'... {more:,} more {self.what}', style, fit)}"


def by_class_table(of: Details) -> DetailTable:
    """Return the accuracy by class, the worst first."""

    def confused(score: ClassScore) -> str:
        other = score.confused_with
        return "" if other is None else f"{of.title(other)} ({score.confused_images:,})"

    rows = [
        [of.title(each.number), f"{each.top1:.2f}", f"{each.images:,}", confused(each)]
        for each in of.classes
        if each.top1 is not None
    ]
    return DetailTable(["class", "top-1 %", "images", "most often taken for"], rows, {0, 3}, "classes")


def confusion_table(of: Details) -> DetailTable:
    """Return the confusion matrix, or of many classes the pairs that are confused most often."""
    numbers = sorted(score.number for score in of.classes)
    if len(numbers) <= MATRIX_CLASSES:
        counts = {(each.label, each.predicted): each.images for each in of.confusion}
        rows = [[f"{n} {of.title(n)}", *(f"{counts.get((n, other), 0):,}" for other in numbers)] for n in numbers]
        return DetailTable(["class, as predicted:", *map(str, numbers)], rows, {0}, "classes")
    images = {score.number: score.images for score in of.classes}
    pairs = sorted((each for each in of.confusion if each.label != each.predicted), key=lambda each: -each.images)
    rows = [
        [of.title(e.label), of.title(e.predicted), f"{e.images:,}", f"{100 * e.images / images[e.label]:.1f}"]
        for e in pairs
    ]
    return DetailTable(["class", "predicted", "images", "% of the class"], rows, {0, 1}, "pairs")


def calibration_table(of: Details) -> DetailTable:
    """Return confidence and accuracy in the bins that have images."""
    rows = [
        [
            f"{100 * each.low:.0f} to {100 * each.high:.0f}",
            f"{each.images:,}",
            f"{100 * each.confidence:.1f}",
            f"{100 * each.accuracy:.1f}",
        ]
        for each in of.bins
        if each.confidence is not None and each.accuracy is not None
    ]
    return DetailTable(["probability %", "images", "mean %", "right %"], rows, {0}, "bins")


def mistakes_table(of: Details) -> DetailTable:
    """Return the images with the most confident mistakes."""
    rows = [[of.title(e.label), of.title(e.predicted), f"{100 * e.probability:.1f}", e.file] for e in of.mistakes]
    return DetailTable(["class", "predicted", "%", "image"], rows, {0, 1, 3}, "mistakes", of.wrong)


TABLES = {
    "by_class": ("accuracy by class", by_class_table),
    "confusion": ("confusions", confusion_table),
    "calibration": ("calibration", calibration_table),
    "mistakes": ("most confident mistakes", mistakes_table),
}


def details_text(of: Details, tables: Sequence[str], style: str, fit: Fit | None = None) -> str:
    """Return the named tables under their titles."""
    parts = []
    for name in tables:
        title, table = TABLES[name]
        parts.append(f"{title_line(f'{title} (weights {of.weights})', style, fit)}\n{table(of).text(style, fit)}")
    return "\n\n".join(parts)
