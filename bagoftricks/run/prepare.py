"""A run whose settings and data are checked, before any image is decoded."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from bagoftricks.data import Dataset, find_dataset
from bagoftricks.errors import UserError
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.recipe.trick import Length
from bagoftricks.robustness.request import EvaluationRequest, request_from
from bagoftricks.run.check import Checked, Lacking, check, elsewhere, require_memory, start_order, weights_digest
from bagoftricks.run.effects import check_effects
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.run.longer import Parent, find_parent
from bagoftricks.run.teacher import Teacher, find_teacher
from bagoftricks.settings import Settings
from bagoftricks.store.json_fields import Json
from bagoftricks.store.store import Store


@dataclass(frozen=True)
class Prepared:
    """A run whose settings and data are checked, with its recipe and its id."""

    settings: Settings
    checked: Checked
    data: Dataset
    identity: Json
    teacher: Teacher | None = None
    evaluation: EvaluationRequest | None = None  # on corrupted images, in addition to the clean ones
    start_order: tuple[int, ...] | None = None  # output of the initial weights for each class; None: the same one
    parent: Parent | None = None  # finished run that this one goes on from

    @property
    def id(self) -> str:
        return run_id(self.identity)

    @property
    def recipe(self) -> Recipe:
        return self.checked.recipe

    @property
    def device(self) -> torch.device:
        return self.checked.device

    @property
    def num_classes(self) -> int:
        return self.checked.task.num_classes

    def with_seed(self, seed: int) -> "Prepared":
        """Return the same run with another seed."""
        return replace(self, settings=replace(self.settings, seed=seed), identity={**self.identity, "seed": seed})


def prepare(
    settings: Settings, checked: Checked | None = None, data: Dataset | None = None, lacking: Lacking | None = None
) -> Prepared:
    """Check the settings, find the data and name the run; decode nothing.

    ``checked`` and ``data`` are those of the settings, if they are known already; ``lacking`` is that of ``check``.
    """
    checked = checked or check(settings, lacking=lacking)
    data = data or find_dataset(settings.data)
    if (count := len(data.train.labels)) < settings.batch_size:
        raise UserError(
            f"batch_size={settings.batch_size}: there are only {count} training images; type batch_size={count} or less"
        )
    size = "tricks.test_size.size" if checked.recipe.test_size else "image_size"
    evaluated = min(settings.runtime.eval_batch_size, len(data.val.labels))
    with elsewhere(lacking):
        require_memory(size, test_pixels(settings, checked.recipe), evaluated, "runtime.eval_batch_size")
    require_targets(settings, data)
    num_classes = class_count(settings, data)
    counts = np.bincount(data.train.labels, minlength=num_classes)
    checked = checked.with_data(num_classes, tuple(counts.tolist()))
    steps = count // settings.batch_size
    length = Length(steps, steps * settings.epochs)
    check_effects(checked.tricks, checked.task, length, settings.weight_decay, checked.recipe.reads)
    evaluation, edit = request_from(settings, checked.recipe), checked.recipe.teacher
    teacher = find_teacher(edit.source, Store(settings.store), num_classes, data.classes) if edit else None
    initial = weights_digest(checked)
    order = start_order(checked, data.classes)
    identity = run_identity(
        settings,
        checked.tricks,
        data.digest,
        num_classes,
        weights_digest=initial if order is None else f"{initial}{list(order)}",
        contents={teacher.source: teacher.digest} if teacher else {},
    )
    parent = find_parent(settings, checked, identity, length)
    return Prepared(settings, checked, data, identity, teacher, evaluation, order, parent)


def require_targets(settings: Settings, data: Dataset) -> None:
    """Raise UserError if the images lack what the task is to predict."""
    task, needed = settings.task, settings.task.targets
    if data.targets == needed == "boxes" and (crop := settings.data.crop) in ("area", "stretch"):
        raise UserError(f"data.crop={crop}: boxes need their whole image: type data.crop=none, or pad to move it")
    if data.targets == needed:
        return
    has = {"classes": "one class for each image", "unseen": "validation images of classes that are not trained on"}
    has |= {"masks": "a class for each pixel", "boxes": "boxes of objects"}
    to_type = "choose other data or another task"
    if needed == "unseen":
        to_type = f"type data.zero_shot={len(data.classes) // 2} to train on the first half of the classes"
    why = f"needs {has[needed]}, and data={data.name} has {has[data.targets]}"
    raise UserError(f"task={task.name}: {why}; {to_type}")


def class_count(settings: Settings, data: Dataset) -> int:
    """Return the number of outputs of the network: the requested one, else the number of classes that are learnt."""
    classes = len(data.classes)
    if data.targets == "unseen":
        classes = int(data.train.labels.max()) + 1
    if settings.num_classes is None:
        return classes
    if settings.num_classes < classes:
        raise UserError(f"num_classes={settings.num_classes}: the data has {classes} classes; leave it out")
    return settings.num_classes
