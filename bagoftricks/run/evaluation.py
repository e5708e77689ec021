"""Evaluate weights that exist: those of a finished run, or those in a file. Trains nothing, records nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from bagoftricks.data import Dataset, find_dataset
from bagoftricks.data.augment import Finish
from bagoftricks.errors import UserError
from bagoftricks.measure.accuracy import accuracy
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import existing, library_tensors, load
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.run.check import Checked, check, discouraged_pairs
from bagoftricks.run.loading import val_loader
from bagoftricks.run.prepare import class_count
from bagoftricks.settings import Settings
from bagoftricks.store.files import weights_writer, write_whole
from bagoftricks.store.record import Record, Scores
from bagoftricks.store.store import Store
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
    trained = replace(trained, runtime=settings.runtime)
    num_classes = trained.num_classes or record.data.classes
    store = Store(settings.store)
    files = {name: store.weights(record.id, name) for name in record.metrics}
    checked = check(trained).with_data(num_classes)
    return Subject(trained, settings, checked, data or find_dataset(settings.data), size, files)


def subject_of_file(settings: Settings) -> Subject:
    """Return the file that ``model.weights`` names, in the network that ``model`` and the tricks describe."""
    if settings.model.weights is None:
        raise UserError("there is nothing to evaluate: type run=<id> (bot-table lists them) or weights=FILE")
    if settings.model.new_head:
        raise UserError("model.new_head=true: a head that was not trained is not worth evaluating; leave it out")
    files = {"last": existing(settings.model.weights)}
    checked, data = check(settings), find_dataset(settings.data)
    return Subject(settings, settings, checked.with_data(class_count(settings, data)), data, None, files)


def evaluate(subject: Subject, note: Callable[[str], object], digest: str | None = None) -> list[Evaluated]:
    """Return the scores of each weight set; ``digest`` is of the data that the run was evaluated on."""
    settings, recipe, data = subject.settings, subject.recipe, subject.data
    if len(data.classes) > subject.num_classes:
        raise UserError(f"the data has {len(data.classes)} classes, the network only {subject.num_classes} outputs")
    if digest not in (None, data.digest):
        note("these are not the images that the run was trained and evaluated on")
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
        scores = Scores(**accuracy(predictor(recipe, subject.network(name)), val.epoch(0)))
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
        write_whole(Path(path).expanduser(), weights_writer(tensors))
    except OSError as error:
        raise UserError(f"export={path}: cannot be written ({error.strerror})") from error
