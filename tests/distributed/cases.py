"""Work of ranks, for tests and for the long runs by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data import eval_loader, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.data.loaders import EvalBatches, TrainBatches
from bagoftricks.data.preparation import Reading
from bagoftricks.data.shares import Shares
from bagoftricks.data.sources import MemorySplit
from bagoftricks.distributed import World
from bagoftricks.distributed.gradients import MeanGradients
from bagoftricks.measure.accuracy import measure_images
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch, Float64, Rows, SetSampling
from bagoftricks.settings import dataset_settings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create
from tests import helpers
from tests.tasks.scenes import TASKS, TINY

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A training to compare between numbers of ranks."""

    tricks: tuple[str, ...] = ()
    steps: int = 5
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lr: float = 0.05
    sync_norm: bool = True
    batch: int = helpers.BATCH


@dataclass(frozen=True)
class Trained:
    """Each step's loss, and the weights and statistics of every weight set."""

    losses: list[float]
    weight_sets: dict[str, Tensors]

    def distance(self, other: "Trained") -> float:
        """Return the greatest relative difference of a weight set, all its tensors in one vector."""
        return max(relative(flat(self.weight_sets[name]), flat(other.weight_sets[name])) for name in self.weight_sets)

    def equals(self, other: "Trained") -> bool:
        pairs = [
            (tensor, other.weight_sets[name][key])
            for name, tensors in self.weight_sets.items()
            for key, tensor in tensors.items()
        ]
        return self.losses == other.losses and all(torch.equal(a, b) for a, b in pairs)


def flat(tensors: Tensors) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors.values()])


def relative(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / one.norm()).item()


def train(world: World, case: Case) -> Trained:
    """Train a tiny network on made-up batches; each rank has its rows."""
    made = {name: {**helpers.FITTING.get(name, {}), **case.params.get(name, {})} for name in case.tricks}
    tricks = {name: create(name, **params) for name, params in made.items()}
    task = helpers.make_task(batch_size=case.batch, total_steps=case.steps, steps_per_epoch=max(1, case.steps // 2))
    recipe = compose(tricks, task)
    whole = bool(recipe.map_batch)
    trainer = helpers.make_trainer(
        tricks, lr=case.lr, task=task, world=world, whole=whole, sync_norm=case.sync_norm
    )  # fmt: skip

    def share(batch: Batch) -> Batch:
        return batch if whole else batch[torch.from_numpy(world.rows(len(batch), recipe.micro_batch))]

    def batches(steps: range) -> Iterator[Batch]:
        rows = case.batch * recipe.reads
        for step in steps:
            batch = helpers.make_batch(rows, step, pixels=trainer.pixels, views=helpers.views(recipe))  # type: ignore[attr-defined]
            yield share(helpers.with_teacher(batch) if recipe.teacher else batch)

    losses = [loss.item() for loss in trainer.epoch(batches(range(case.steps)))]
    trainer.refresh_norms(batches(range(case.steps, case.steps + 3)))
    sets = trainer.weight_sets().items()
    return Trained(losses, {name: {k: v.clone() for k, v in model.state_dict().items()} for name, model in sets})


def gradients(world: World, tricks: tuple[str, ...]) -> Tensors:
    """Return the gradient of one batch in fp64."""
    trainer = helpers.make_trainer(helpers.create_all(tricks), world=world)
    model = trainer.model.double()
    if world.size > 1:
        trainer.gradients = MeanGradients(world, model.parameters())
    batch = helpers.make_batch(pixels=trainer.pixels)  # type: ignore[attr-defined]
    rows = torch.from_numpy(world.rows(len(batch)))
    trainer.backward(Batch(batch.images[rows].double(), batch.targets[rows].double()), helpers.KEY, len(batch))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def gradients_of_task(world: World, name: str) -> Tensors:
    """Return the gradient of one batch of a task in fp64."""
    settings, task = compose_settings([*TINY, *TASKS[name]]), helpers.make_task()
    task = replace(task, loss=settings.task.loss(task.noise), inits=tuple(settings.task.inits()))
    model = build_model(settings.model, {}, num_classes=helpers.CLASSES, image_size=settings.pixels, task=settings.task)
    setup = TrainerSetup(key=helpers.KEY, lr=0.1, weight_decay=0.0, world=world)
    trainer = Trainer(compose({}, task), model, task, task.clock.length, setup)
    network = trainer.model.double().train()
    if world.size > 1:
        trainer.gradients = MeanGradients(world, network.parameters())
    batch = helpers.make_batch(pixels=settings.pixels)
    targets = targets_of(settings.task.targets, batch.targets, settings.pixels)
    rows = torch.from_numpy(world.rows(len(batch)))
    trainer.backward(Batch(batch.images[rows].double(), targets[rows]), helpers.KEY, len(batch))
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def targets_of(kind: str, of_classes: Tensor, pixels: int) -> Tensor:
    """Return targets of a task: each image is of its class everywhere, or has an object of it."""
    labels = of_classes.argmax(1)
    if kind == "masks":
        return labels[:, None, None].expand(-1, pixels, pixels)
    if kind == "boxes":
        return torch.stack([labels, labels + 1, labels + 9, labels + 13, labels], 1)[:, None].double()
    return of_classes.double()


def train_all(world: World, cases: list[Case]) -> list[Trained]:
    return [train(world, case) for case in cases]


IMAGES, SIDE = 103, 12


def split(size: int = SIDE) -> MemorySplit:
    return MemorySplit(helpers.photographs(IMAGES, size), np.arange(IMAGES) % helpers.CLASSES)


def some_twice(labels: Rows) -> Float64:
    """Return expected copies that differ between images, with a mean of 1."""
    return np.linspace(0, 2, len(labels))


def read(
    world: World, *, batch: int, micro: int | None, reads: int, whole: bool, stream: bool, copies: bool = False
) -> list[Batch]:
    """Two epochs of augmented batches."""
    data = dataset_settings(image_size=SIDE, crop="area" if stream else "pad", jitter="hsv", pca=0.1)
    finish = Finish(data, helpers.CLASSES, torch.device("cpu"), channels_last=True)
    loader = train_loader(
        split(SIDE + 8 if stream else SIDE),
        data,
        finish,
        TrainBatches(
            size=SIDE,
            batch_size=batch,
            reads=reads,
            key=helpers.KEY,
            sampling=SetSampling(copies=some_twice) if copies else None,
        ),
        Reading(workers=0, shares=Shares(world, micro, whole)),
    )
    return [made for epoch in range(2) for made in loader.epoch(epoch)]


def evaluate(world: World, batch: int) -> tuple[dict[str, float], list[bool]]:
    """Return the scores of fixed weights on all images, and which of them they got right."""
    data = dataset_settings(image_size=SIDE, crop="none")
    finish = Finish(data, helpers.CLASSES, torch.device("cpu"), channels_last=True)
    val = eval_loader(
        split(), data, finish, EvalBatches(size=SIDE, batch_size=batch), Reading(workers=0, shares=Shares(world))
    )
    found = measure_images(helpers.teacher, val.numbered(0), world)
    return found.scores, found.correct.tolist()
