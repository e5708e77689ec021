"""Evaluate weights that exist: those of a finished run, or those in a file. Trains nothing, records nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from bagoftricks.data import Dataset, find_dataset
from bagoftricks.data.augment import Finish
from bagoftricks.errors import UserError
from bagoftricks.folders import local_path
from bagoftricks.measure.accuracy import accuracy
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import existing, library_tensors, load
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.run.check import Checked, check, discouraged_pairs
from bagoftricks.run.classes import CLASS_NAMES, class_names_of, order_notes, output_order
from bagoftricks.run.loading import val_loader
from bagoftricks.run.prepare import class_count
from bagoftricks.settings import Settings
from bagoftricks.store.files import weights_writer, write_whole
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

    @property
    def num_classes(self) -> int:
        return self.checked.task.num_classes

    @property
    def recipe(self) -> Recipe:
        return self.checked.recipe

    def network(self, weight_set: str) -> nn.Module:
        """Return the network with these weights, on the device."""
        spec, pixels = self.trained.model, self.trained.pixels
        model = build_model(spec, self.recipe.parts, num_classes=self.num_classes, image_size=pixels)
        model = to_device(model, self.checked.device, channels_last=self.settings.runtime.channels_last)
        load(model, self.files[weight_set])
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


def subject_of_run(
    record: Record, trained: Settings, settings: Settings, size: int | None, data: Dataset | None = None
) -> Subject:
    """Return the run's weight sets; ``settings`` are ``trained`` but for what was overridden.

    ``data``, if it is known already.
    """
    require_secrets({"data": vars(settings.data)})
    trained = replace(trained, runtime=settings.runtime)
    num_classes = trained.num_classes or record.data.classes
    store = Store(settings.store)
    files = {name: store.weights(record.id, name) for name in record.metrics}
    for file in files.values():
        require_intact(existing(file))
    checked, what = check(trained).with_data(num_classes), f"run {record.id}"
    data, notes = with_classes_of(record.data.class_names, data or find_dataset(settings.data), num_classes, what)
    return Subject(trained, settings, checked, data, size, files, record.data.class_names, notes)


def subject_of_file(settings: Settings) -> Subject:
    """Return the file that ``model.weights`` names, in the network that ``model`` and the tricks describe."""
    if settings.model.weights is None:
        raise UserError("there is nothing to evaluate: type run=<id> (bot-table lists them) or weights=FILE")
    if settings.model.new_head:
        raise UserError("model.new_head=true: a head that was not trained is not worth evaluating; leave it out")
    weights = existing(settings.model.weights)
    require_intact(weights)
    checked, data = check(settings), find_dataset(settings.data)
    checked = checked.with_data(class_count(settings, data))
    names = class_names_of(weights)
    data, notes = with_classes_of(names, data, checked.task.num_classes, f"weights={settings.model.weights}")
    return Subject(settings, settings, checked, data, None, {"last": weights}, names, notes)


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
    settings, recipe, data = subject.settings, subject.recipe, subject.data
    for line in subject.notes:
        note(line)
    if digest not in (None, data.digest):
        note("these are not the images that the run was trained and evaluated on")
    for line in data.notes():
        note(line)
    for warning in discouraged_pairs(subject.trained.tricks):
        note(f"warning: {warning}")
    size = subject.size or test_pixels(settings, recipe)
    short_side = recipe.test_size.short_side if recipe.test_size and subject.size is None else None
    channels_last = settings.runtime.channels_last
    finish = Finish(settings.data, subject.num_classes, subject.checked.device, channels_last=channels_last)
    val = val_loader(settings, finish, data, size=size, short_side=short_side)
    model = subject.checked.network
    params, macs = count_params(model), count_macs(model, size)
    found = []
    for name in subject.files:
        scores = scores_of(accuracy(predictor(recipe, subject.network(name)), val.epoch(0)))
        found.append(Evaluated(name, scores, data.name, size, val.images, params, macs))
    for broken in val.skipped:
        note(f"skipped: {broken}")
    return found


def export(subject: Subject, weight_set: str, path: str, naming: str) -> None:
    """Write a weight set as safetensors, in our names or in those of torchvision and timm."""
    model = subject.network(weight_set)
    ours = naming == "ours"
    tensors = model.state_dict() if ours else library_tensors(model, subject.trained.model.name)
    try:
        about = {CLASS_NAMES: json.dumps(subject.class_names)} if subject.class_names else None
        write_whole(local_path("export", path), weights_writer(tensors, about))
    except OSError as error:
        raise UserError(f"export={path}: cannot be written ({error.strerror})") from error
