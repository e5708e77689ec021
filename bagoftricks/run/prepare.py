"""A run that is known to be possible, before anything is decoded."""

from dataclasses import dataclass
from typing import Any

from bagoftricks.data import Dataset, find_dataset
from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import SetTeacher
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Task
from bagoftricks.robustness.request import EvaluationRequest, request_from
from bagoftricks.run.check import Checked, check, weights_digest
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.run.teacher import Teacher, find_teacher
from bagoftricks.settings import Settings
from bagoftricks.store.store import Store


@dataclass(frozen=True)
class Prepared:
    """A run that is known to be possible, and its id."""

    settings: Settings
    checked: Checked
    data: Dataset
    num_classes: int
    identity: dict[str, Any]
    teacher: Teacher | None = None
    evaluation: EvaluationRequest | None = None  # on corrupted images, besides the clean ones

    @property
    def id(self) -> str:
        return run_id(self.identity)

    @property
    def recipe(self) -> Recipe:
        """The recipe but for what depends on the length of the run."""
        return self.checked.recipe(Task(self.num_classes, self.settings.batch_size, 1, 1))

    @property
    def asked(self) -> SetTeacher | None:
        """What the tricks ask of the teacher."""
        return self.recipe.teacher


def prepare(settings: Settings, checked: Checked | None = None, data: Dataset | None = None) -> Prepared:
    """Check the settings, find the data, and name the run; nothing is decoded. What is known already can be given."""
    checked = checked or check(settings)
    data = data or find_dataset(settings.data)
    num_classes = class_count(settings, data)
    if (count := len(data.train.labels)) < settings.batch_size:
        raise UserError(
            f"batch_size={settings.batch_size}: there are only {count} training images; type batch_size={count} or less"
        )
    recipe = checked.recipe(Task(num_classes, settings.batch_size, 1, 1))
    evaluation = request_from(settings, recipe)
    asked = recipe.teacher
    teacher = find_teacher(asked.source, Store(settings.store), num_classes) if asked else None
    identity = run_identity(
        settings,
        checked.tricks,
        data.digest,
        num_classes,
        weights_digest=weights_digest(settings, recipe, num_classes),
        contents={teacher.source: teacher.digest} if teacher else {},
    )
    return Prepared(settings, checked, data, num_classes, identity, teacher, evaluation)


def class_count(settings: Settings, data: Dataset) -> int:
    """Outputs of the network: what was asked for, else the data's classes."""
    if settings.num_classes is None:
        return len(data.classes)
    if settings.num_classes < len(data.classes):
        raise UserError(f"num_classes={settings.num_classes}: the data has {len(data.classes)} classes; leave it out")
    return settings.num_classes
