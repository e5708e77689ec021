"""Predictions of a network for images without labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bagoftricks.data.unlabelled import find_images
from bagoftricks.errors import DataError, UserError
from bagoftricks.measure.predictions import Predictions, Recorder
from bagoftricks.models.weights import existing, head_outputs, read_tensors
from bagoftricks.run.check import check
from bagoftricks.run.classes import class_names_of, read_class_names
from bagoftricks.run.evaluation import Subject, subject_of_file, subject_of_run
from bagoftricks.settings import Settings
from bagoftricks.store.record import Record
from bagoftricks.store.weight_sets import LAST, averages


@dataclass(frozen=True)
class PredictedImages:
    """Predictions for the images that could be read: ``rows`` of the subject's images, in their order."""

    predictions: Predictions
    rows: Sequence[int]
    skipped: tuple[str, ...]  # a line for each image that could not be read


def subject_of_run_on_images(
    record: Record, trained: Settings, settings: Settings, size: int | None, places: Sequence[str]
) -> Subject:
    """Return the run's network with the images in files and folders in place of its data, which is not read."""
    data = find_images(places, settings.data.max_pixels, record.data.class_names)
    return subject_of_run(record, trained, settings, size, data)


def subject_of_file_on_images(settings: Settings, places: Sequence[str], classes: str | None) -> Subject:
    """Return the network of a file of weights with the images in files and folders.

    Its classes are named by the file of ``classes``, by the file of weights or its record, or by the folders of
    data.root, in this order; else they stay without names.
    """
    weights = existing(settings.model.weights or "")
    known = class_names_of(weights)
    root = getattr(settings.data, "root", None)
    what = f"classes={classes}" if classes else f"data.root={root}"
    if classes is not None:
        names = read_class_names(classes)
    else:
        names = known or (settings.data.find().classes if root else ())
    outputs = settings.num_classes or head_outputs(check(settings, train=False).network, read_tensors(weights))
    of_fewer = settings.num_classes is not None and classes is None  # as it was typed for the training
    if names and not known and outputs and len(names) != outputs and not of_fewer:
        raise UserError(
            f"{what}: names {len(names)} classes, and the network has {outputs} outputs: type classes=FILE with a "
            "name for each, a line each"
        )
    settings = replace(settings, num_classes=outputs or len(names) or None)
    return subject_of_file(settings, find_images(places, settings.data.max_pixels, names))


def chosen_weight_set(subject: Subject, typed: str | None, note: Callable[[str], object]) -> str:
    """Return the weight set that is typed, else ``last``, with a note on the others. Raises UserError."""
    if typed is not None:
        subject.only(typed)
        return typed
    others = averages(subject.files)
    if others:
        note(f"these are the last weights; weight_set={others[0]} takes averaged ones ({', '.join(others)})")
    return LAST


def predict_images(subject: Subject, weight_set: str, top: int) -> PredictedImages:
    """Return the ``top`` most probable classes of each image that can be read. Raises DataError if none can."""
    if top > subject.num_classes:
        raise UserError(f"top={top}: the network has {subject.num_classes} outputs; type top={subject.num_classes}")
    loader, recorder = subject.loader(), Recorder(subject.predictor(weight_set), top)
    for batch in loader.epoch(0):
        recorder(batch.images)
    if not recorder.kept:
        raise DataError(f"no image can be read: {loader.skipped[0]}")
    return PredictedImages(recorder.predictions(), loader.rows.tolist(), tuple(loader.skipped))
