"""The epochs of a run: train, evaluate, keep the rows."""

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from bagoftricks.data import Loader
from bagoftricks.edits import Images, Predict
from bagoftricks.evaluate.accuracy import SCORES, accuracy
from bagoftricks.evaluate.speed import synchronise
from bagoftricks.models import build_model, place
from bagoftricks.models.weights import start_from
from bagoftricks.rng import Key
from bagoftricks.settings import Settings
from bagoftricks.study.check import Checked
from bagoftricks.train import Trainer, predictor
from bagoftricks.trick import Task

REFRESH_BATCHES = 50  # on which the statistics of an averaged copy's batch norms are measured
Rows = list[dict[str, Any]]  # one row per epoch and evaluated copy: metrics.csv


@runtime_checkable
class Reporter(Protocol):
    """Who is told how a run gets on."""

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, row: Mapping[str, Any]) -> None: ...

    def end(self) -> None: ...


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says when and why."""


def make_trainer(
    settings: Settings,
    checked: Checked,
    num_classes: int,
    *,
    steps_per_epoch: int,
    sample: Callable[[int], Images] | None = None,
    teacher: Predict | None = None,
) -> Trainer:
    """The composed recipe with its network, on the device."""
    task = Task(num_classes, settings.batch_size, steps_per_epoch, settings.epochs * steps_per_epoch)
    recipe = checked.recipe(task)
    model = build_model(settings.model, recipe.parts, num_classes=num_classes, image_size=settings.pixels)
    model = place(model, checked.device, channels_last=settings.runtime.channels_last)
    return Trainer(
        recipe,
        model,
        task,
        key=Key(settings.seed),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        sample=sample,
        start=start_from(weights, new_head=settings.model.new_head) if (weights := settings.model.weights) else None,
        teacher=teacher,
    )


def run_epochs(
    settings: Settings,
    trainer: Trainer,
    train: Loader,
    val: Loader,
    reporter: Reporter,
    *,
    save: Callable[[Rows], object],
) -> tuple[Rows, float]:
    """Train and evaluate all epochs: the rows of the evaluated ones, and the seconds spent in training."""
    rows: Rows = []
    train_seconds = 0.0
    for epoch in range(1, settings.epochs + 1):
        start = time.perf_counter()
        mean_loss = train_epoch(trainer, train, epoch, reporter)
        train_seconds += time.perf_counter() - start
        if epoch % settings.runtime.eval_every and epoch < settings.epochs:
            continue
        trainer.refresh_norms(islice(train.epoch(epoch), REFRESH_BATCHES))
        for copy, model in trainer.copies().items():
            scores = accuracy(predictor(trainer.recipe, model), val.epoch(0))
            about = {"epoch": epoch, "copy": copy, "steps": trainer.steps_done, "train_loss": mean_loss}
            rows.append({**about, **scores, "train_seconds": train_seconds})
            reporter.epoch(rows[-1])
        save(rows)
    return rows, train_seconds


def train_epoch(trainer: Trainer, train: Loader, epoch: int, reporter: Reporter) -> float:
    """One pass; the mean of the minimised loss. Nothing waits for the device before the end."""
    total: Tensor | None = None
    for loss in trainer.epoch(train.epoch(epoch - 1)):
        total = loss if total is None else total + loss
        reporter.step()
    synchronise(trainer.device)
    mean = float("nan") if total is None else total.item() / len(train)
    if not abs(mean) < float("inf"):
        raise TrainingFailed(
            f"the training loss is {mean} in epoch {epoch}: type a lower lr=, or add +efficiency=warmup"
        )
    return mean


def final_metrics(rows: Rows, epochs: int) -> dict[str, Any]:
    """The last epoch's scores: of the last weights at the top, of averaged copies under ``copies``."""
    scores = {row["copy"]: {key: row[key] for key in SCORES} for row in rows if row["epoch"] == epochs}
    last = scores.pop("last")
    return {**last, "copies": scores} if scores else last
