"""Estimates of the time of a run: from records of like runs, else from a few steps."""

import time
from dataclasses import asdict
from statistics import median

import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.loading import teacher_online
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import make_trainer
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store
from bagoftricks.study.plan import Plan, PlannedRun

STEPS = 4  # timed, after one that warms up
SAMPLE = 64  # images for what is made of training images


def seconds_from_records(plan: Plan, store: Store) -> float | None:
    """Return the median wall time of stored runs of one network, data, size, batch and epochs; None without any."""
    known = [record.cost.wall_seconds for record in like_records(plan, store)]
    return median(known) if known else None


def like_records(plan: Plan, store: Store) -> list[Record]:
    """Return the stored runs of the network, data, size, batch and epochs of a plan's runs."""
    wanted = {_kind(run.settings.model.name, asdict(run.settings)) for run in plan.runs}
    return [record for record in _records(store) if _kind_of(record) in wanted]


def seconds_from_steps(run: PlannedRun) -> float:
    """Return the time of a few training steps on random images, times the steps of the run."""
    settings = run.settings
    prepared = prepare(settings)
    checked, classes = prepared.checked, prepared.num_classes
    size, channels = settings.pixels, settings.data.channels
    steps = len(prepared.data.train.labels) // settings.batch_size

    def grey(count: int) -> Tensor:
        return torch.zeros(min(count, SAMPLE), channels, size, size, device=checked.device)

    trainer = make_trainer(prepared, steps, sample=grey, teacher=teacher_online(prepared))
    rows = settings.batch_size * trainer.recipe.reads
    images = torch.zeros(rows, channels, size, size, device=checked.device)
    uniform = torch.full((rows, classes), 1 / classes, device=checked.device)
    batch = Batch(images, uniform, uniform if trainer.recipe.teacher else None)
    trainer.step(batch)
    synchronise(checked.device)
    start = time.perf_counter()
    for _ in range(STEPS):
        trainer.step(batch)
    synchronise(checked.device)
    return (time.perf_counter() - start) / STEPS * steps * settings.epochs


def _records(store: Store) -> list[Record]:
    try:
        return list(Store(store.root).records())  # what is damaged elsewhere is not the study's
    except UserError:  # no store yet
        return []


def _kind_of(record: Record) -> str:
    return _kind(record.model.get("name", ""), record.config)


def _kind(model: str, config: Json) -> str:
    data = config.get("data")
    name, root = (data.get("name"), data.get("root")) if isinstance(data, dict) else (None, None)
    return repr([model, name, root, *map(config.get, ("image_size", "batch_size", "epochs"))])
