"""Predictions of a network for images, as a table, as JSON and as a sheet of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from bagoftricks.data.sources import Split
from bagoftricks.errors import as_text
from bagoftricks.escape import for_json
from bagoftricks.report.contact_sheet import write_sheet
from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import Fit
from bagoftricks.run.evaluation import Subject
from bagoftricks.run.predicting import PredictedImages
from bagoftricks.run.seen import captioned_rows
from bagoftricks.store.json_fields import Json

ON_SHEET, ACROSS = 60, 6  # pictures of a sheet, and of one of its rows


@dataclass(frozen=True)
class RankedClass:
    """Class of a network with its probability in [0, 1]; the name is None where it is not known."""

    name: str | None
    number: int
    probability: float

    @property
    def title(self) -> str:
        return class_title(self.name, self.number)

    def values(self) -> Json:
        return {"class": self.name, "number": self.number, "probability": self.probability}


@dataclass(frozen=True)
class PredictedImage:
    """One image with its most probable classes, the first one first."""

    file: str
    top: tuple[RankedClass, ...]


@dataclass(frozen=True, kw_only=True)
class PredictionTable:
    """Predictions of one weight set, and a line for each image that could not be read."""

    run: str | None
    model: str
    weights: str
    images: tuple[PredictedImage, ...]
    skipped: tuple[str, ...]

    def values(self) -> Json:
        """Return the predictions as a JSON object, whose keys users read."""
        images = [
            {"file": as_text(image.file), **image.top[0].values(), "top": [each.values() for each in image.top]}
            for image in self.images
        ]
        return {**vars(self), "images": images}


def class_title(name: str | None, number: int) -> str:
    """Return the name of a class, or its number if the name is not known."""
    return name if name is not None else f"class {number}"


def name_of(names: Sequence[str], number: int) -> str | None:
    """Return the name of an output, None if it is not known."""
    return names[number] if number < len(names) else None


def prediction_table(subject: Subject, found: PredictedImages, weights: str, run: str | None) -> PredictionTable:
    """Return the predictions with the names of files and classes."""
    names, predictions = subject.names, found.predictions
    images = [
        PredictedImage(
            file_name(subject.data.val, row),
            tuple(RankedClass(name_of(names, n), n, p) for n, p in zip(numbers, shares, strict=True)),
        )
        for row, numbers, shares in zip(
            found.rows, predictions.classes.tolist(), predictions.probabilities.tolist(), strict=True
        )
    ]
    model = subject.trained.model.name
    return PredictionTable(run=run, model=model, weights=weights, images=tuple(images), skipped=found.skipped)


def file_name(split: Split, row: int) -> str:
    """Return the path of an image as it was typed or found."""
    file = split.file(row)
    return f"image {row}" if file is None else file.path


def prediction_text(table: PredictionTable, style: str, fit: Fit | None = None) -> str:
    """Return the predictions in a style of ``format=``; text fits into ``fit``."""
    if style == "json":
        return for_json(table.values())
    if style == "csv":
        return _csv(table)
    others = len(table.images[0].top) > 1
    rows = [[image.file, image.top[0].title, _percent(image.top[0].probability)] for image in table.images]
    if others:
        rows = [[*row, _others(image.top[1:])] for row, image in zip(rows, table.images, strict=True)]
    headings = ["image", "class", "%", "next"][: 3 + others]
    return draw_table(headings, rows, {0, 1, 3}, style, fit)


def _csv(table: PredictionTable) -> str:
    """Return a line for each image: its file, then class, number and probability of each of the first classes."""
    count = len(table.images[0].top)
    ends = ["" if k == 0 else f"_{k + 1}" for k in range(count)]
    headings = ["file", *(f"{key}{end}" for end in ends for key in ("class", "number", "probability"))]
    rows = [
        [image.file, *(value for each in image.top for value in (each.name, each.number, each.probability))]
        for image in table.images
    ]
    return draw_table(headings, rows, (), "csv")


def _others(classes: Sequence[RankedClass]) -> str:
    return ", ".join(f"{each.title} {_percent(each.probability)}" for each in classes)


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f}"


def write_prediction_sheet(subject: Subject, found: PredictedImages, table: PredictionTable, out: str) -> str:
    """Write the first images with their predictions as a PNG; return a line about it."""
    captions = {
        row: f"{_percent(image.top[0].probability)} % {image.top[0].title}\n{image.file.rpartition('/')[2]}"
        for row, image in list(zip(found.rows, table.images, strict=True))[:ON_SHEET]
    }
    write_sheet(captioned_rows(subject.data.val, subject.augment, captions, ACROSS), out)
    of = f" the first {len(captions)} of" if len(captions) < len(table.images) else ""
    return f"{out} shows{of} {len(table.images):,} images as the network sees them"
