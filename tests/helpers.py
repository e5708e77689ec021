"""A tiny task, network and data stream, on which every trick can be run in milliseconds."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.catalogue import create
from bagoftricks.compose import compose
from bagoftricks.edits import Batch, Edit, Part, SetPart
from bagoftricks.models import build_model
from bagoftricks.recipe import Recipe
from bagoftricks.rng import Key
from bagoftricks.settings import ModelSettings
from bagoftricks.train import Trainer
from bagoftricks.trick import Task, Trick

CLASSES, PIXELS, BATCH = 5, 16, 8
TINY = ModelSettings(name="tiny", depths=[1, 1], width=4)
RESNET50 = ModelSettings(name="resnet50", depths=[3, 4, 6, 3], width=64)
KEY = Key(0)


@dataclass
class Fake:
    """A trick that returns the edits it is given."""

    made: list[Edit]

    def edits(self, task: Task) -> list[Edit]:
        return self.made


def make_task(**changes: Any) -> Task:
    return Task(**{"num_classes": CLASSES, "batch_size": BATCH, "steps_per_epoch": 5, "total_steps": 10, **changes})


def create_all(names: Iterable[str]) -> dict[str, Trick]:
    return {name: create(name) for name in names}


def the_edit(name: str, /, task: Task | None = None, **params: Any) -> Any:
    """The one edit of a shipped trick."""
    (edit,) = create(name, **params).edits(task or make_task())
    return edit


def make_batch(rows: int = BATCH, step: int = 0) -> Batch:
    rng = KEY.fold("batch", step).generator()
    labels = torch.randint(CLASSES, (rows,), generator=rng)
    return Batch(torch.randn(rows, 3, PIXELS, PIXELS, generator=rng), torch.eye(CLASSES)[labels])


def batches(steps: int, reads: int = 1) -> Iterator[Batch]:
    return (make_batch(BATCH * reads, step) for step in range(steps))


def make_model(recipe: Recipe, spec: ModelSettings = TINY) -> nn.Module:
    return build_model(spec, recipe.parts, num_classes=CLASSES, image_size=PIXELS)


def make_trainer(tricks: Mapping[str, Trick], *, lr: float = 0.1, weight_decay: float = 1e-3) -> Trainer:
    task = make_task()
    recipe = compose(tricks, task)
    return Trainer(recipe, make_model(recipe), task, key=KEY, lr=lr, weight_decay=weight_decay)


def trained(tricks: Mapping[str, Trick], steps: int) -> Trainer:
    trainer = make_trainer(tricks)
    for _ in trainer.epoch(batches(steps, trainer.recipe.reads)):
        pass
    return trainer


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def run(tricks: Mapping[str, Trick], steps: int) -> Tensor:
    """The weights of the tiny network after ``steps`` steps, in one vector."""
    return flat(trained(tricks, steps).model)


def parts_of(name: str) -> dict[Part, tuple[str, Callable[..., Any]]]:
    """The parts of a shipped trick, as ``build_model`` takes them; none for an empty name."""
    edits = create(name).edits(make_task()) if name else []
    return {edit.part: (name, edit.build) for edit in edits if isinstance(edit, SetPart)}
