"""Evaluate weights that exist: those of a finished run, or those in a file. Trains nothing, records nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bagoftricks.data import Dataset, Loader, find_dataset
from bagoftricks.data.augment import Augment
from bagoftricks.data.sources import Labels, MemorySplit
from bagoftricks.distributed import ALONE
from bagoftricks.errors import UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.predictions import Predictions, Recorder
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import existing, load_weights
from bagoftricks.recipe.edits import Predict
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.run.check import Checked, check, discouraged_pairs
from bagoftricks.run.classes import class_names_of, order_notes, output_order
from bagoftricks.run.loading import finish_for, val_loader
from bagoftricks.run.prepare import class_count, require_targets
from bagoftricks.settings import Settings
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import Record, Scores, scores_of
from bagoftricks.store.secrets import require_secrets
from bagoftricks.store.store import Store, require_intact
from bagoftricks.training.trainer import predictor


@dataclass(frozen=True)
class Subject:
    """Networks of one recipe to evaluate, and how. The network is built for the images it was trained on."""

    trained: Settings  # tricks, network, and the size of the images it is built for
    settings: Settings  # data and runtime of the evaluation
    checked: Checked
    data: Dataset
    size: int | None  # of the images, where it was asked for; None: as the run evaluated itself
    files: Mapping[str, Path]  # weight set -> its file
    class_names: Sequence[str] = ()  # if they are known
    notes: tuple[str, ...] = ()  # on them
    run: str | None = None  # id of the run whose network it is

    @property
    def num_classes(self) -> int:
        return self.checked.task.num_classes

    @property
    def recipe(self) -> Recipe:
        return self.checked.recipe

    @property
    def names(self) -> Sequence[str]:
        """Names of the network's first outputs; empty if they are not known."""
        return self.class_names or self.data.classes

    @property
    def pixels(self) -> int:
        """Side in pixels of the images in the evaluation."""
        return self.size or test_pixels(self.settings, self.recipe)

    @property
    def augment(self) -> Augment:
        """Preparation of the images."""
        test = self.recipe.test_size
        return Augment.plain(self.settings.data, self.pixels, test.short_side if test and self.size is None else None)

    def only(self, weight_set: str) -> "Subject":
        """Return this with one weight set. Raises UserError if it is not there."""
        if weight_set not in self.files:
            raise UserError(f"weight_set={weight_set}: the weights are of {', '.join(self.files)}")
        return replace(self, files={weight_set: self.files[weight_set]})

    def loader(self, data: Dataset | None = None) -> Loader:
        """Return the loader of the validation images of the data, or of other data."""
        finish = finish_for(self.settings, self.num_classes, self.checked.device, training=False)
        short_side = self.augment.short_side
        return val_loader(self.settings, finish, data or self.data, size=self.pixels, short_side=short_side)

    def predictor(self, weight_set: str) -> Predict:
        """Return the function from images to logits of a weight set."""
        return predictor(self.recipe, self.network(weight_set))

    def network(self, weight_set: str) -> nn.Module:
        """Return the network with these weights, on the device."""
        spec, pixels = self.trained.model, self.trained.pixels
        model = build_model(
            spec,
            self.recipe.parts,
            num_classes=self.num_classes,
            image_size=pixels,
            channels=self.trained.data.channels,
            task=self.trained.task,
        )
        model = to_device(model, self.checked.device, channels_last=self.settings.runtime.channels_last)
        load_weights(model, self.files[weight_set])
        return model


@dataclass(frozen=True)
class Evaluated:
    """Scores of a weight set on ``images`` images of ``image_size`` pixels, and the costs at that size."""

    weights: str
    scores: Scores
    data: str
    image_size: int
    images: int
    params: int
    macs: int
    predictions: Predictions | None  # of the images that could be read; None for another task than classification
    rows: Labels  # of the validation split, of these images

    def shown(self) -> Json:
        """Return the fields that a table's row has."""
        return {name: value for name, value in vars(self).items() if name not in ("predictions", "rows")}


def subject_of_run(
    record: Record, trained: Settings, settings: Settings, size: int | None, data: Dataset | None = None
) -> Subject:
    """Return the run's weight sets; ``settings`` are ``trained`` but for what was overridden.

    ``data``, if it is known already.
    """
    if data is None:
        require_secrets({"data": vars(settings.data)})
    if settings.data.channels != trained.data.channels:
        raise UserError(
            f"data.channels={settings.data.channels}: the network takes {trained.data.channels}; leave it out"
        )
    trained = replace(trained, runtime=settings.runtime)
    num_classes = trained.num_classes or record.outputs
    store = Store(settings.store)
    files = {name: store.weights(record.id, name) for name in record.metrics}
    for file in files.values():
        require_intact(existing(file))
    checked, what = check(trained, train=False).with_data(num_classes), f"run {record.id}"
    data, notes = data or find_dataset(settings.data), tuple[str, ...]()
    require_targets(trained, data)
    if trained.task.targets == "classes":
        data, notes = with_classes_of(record.data.class_names, data, num_classes, what)
    return Subject(trained, settings, checked, data, size, files, record.data.class_names, notes, record.id)


def subject_of_file(settings: Settings, data: Dataset | None = None) -> Subject:
    """Return the file that ``model.weights`` names, in the network that ``model`` and the tricks describe.

    ``data``, if it is known already.
    """
    if settings.model.weights is None:
        raise UserError("there is nothing to evaluate: type run=<id> (bot-table lists them) or weights=FILE")
    if settings.model.new_head:
        raise UserError("model.new_head=true: a head that was not trained is not worth evaluating; leave it out")
    weights = existing(settings.model.weights)
    require_intact(weights)
    checked, data = check(settings, train=False), data or find_dataset(settings.data)
    checked = checked.with_data(class_count(settings, data))
    names = class_names_of(weights)
    require_targets(settings, data)
    notes: tuple[str, ...] = ()
    if settings.task.targets == "classes":
        data, notes = with_classes_of(names, data, checked.task.num_classes, f"weights={settings.model.weights}")
    return Subject(settings, settings, checked, data, None, {"last": weights}, names, notes)


def without_data(class_names: tuple[str, ...]) -> Dataset:
    """Return a data set without images, for a network that is used without its own."""
    nothing = MemorySplit(torch.empty(0, 3, 1, 1, dtype=torch.uint8), np.array([], np.int64))
    return Dataset("none", class_names, nothing, nothing)


def with_classes_of(names: Sequence[str], data: Dataset, outputs: int, what: str) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data with the class numbers of a network, matched by name, and notes; ``what`` is the network.

    Raises UserError for a class that the network has not.
    """
    if len(data.classes) > outputs:
        raise UserError(f"the data has {len(data.classes)} classes, the network only {outputs} outputs")
    change = "rename the data's folders as the network's classes"
    order = output_order(data.classes, names, outputs, what=what, change=change)
    made = data if order is None else data.renumbered(names, order)
    return made, tuple(order_notes(what, names, order))


def evaluate(subject: Subject, note: Callable[[str], object], digest: str | None = None) -> list[Evaluated]:
    """Return the scores of each weight set; ``digest`` is of the data that the run was evaluated on."""
    data = subject.data
    for line in subject.notes:
        note(line)
    if digest not in (None, data.digest):
        note("these are not the images that the run was trained and evaluated on")
    for line in data.notes():
        note(line)
    for warning in discouraged_pairs(subject.trained.tricks):
        note(f"warning: {warning}")
    size, val, model = subject.pixels, subject.loader(), subject.checked.network
    params, macs = count_params(model), count_macs(model, size)
    found = []
    for name in subject.files:
        recorder, task = Recorder(subject.predictor(name)), subject.trained.task
        of_classes = task.targets == "classes"
        measured = task.measure(recorder if of_classes else recorder.predict, val.numbered(0), ALONE)
        of_images = recorder.predictions() if of_classes else None, val.rows
        scores = scores_of(measured.scores)
        found.append(Evaluated(name, scores, data.name, size, val.images, params, macs, *of_images))
    for broken in val.skipped:
        note(f"skipped: {broken}")
    return found
