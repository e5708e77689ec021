"""The epochs of a run: train, evaluate, keep the rows."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from bagoftricks.data import Loader
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import DataError, UserError
from bagoftricks.measure.accuracy import SCORES, accuracy
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import start_from
from bagoftricks.recipe.edits import Batch, Images, Predict
from bagoftricks.recipe.trick import Length
from bagoftricks.rng import Key
from bagoftricks.run.failures import is_dead_worker
from bagoftricks.run.keeper import EpochRows, RunCheckpointer
from bagoftricks.run.prepare import Prepared
from bagoftricks.run.reporter import Reporter
from bagoftricks.settings import Settings
from bagoftricks.training.compiled import compile_on, compiled, grey_images
from bagoftricks.training.trainer import Trainer, TrainerSetup, autocast, predictor

REFRESH_BATCHES = 50  # on which the statistics of an averaged copy's batch norms are measured
CURVE = ("epoch", "steps", "copy", "train_seconds", "top1")


def make_trainer(
    prepared: Prepared,
    steps_per_epoch: int,
    *,
    sample: Callable[[int], Images] | None = None,
    teacher: Predict | None = None,
    world: World = ALONE,
    whole: bool = False,
) -> Trainer:
    """Build the network on the device, and the trainer of the composed recipe. Parameters are those of TrainerSetup."""
    settings, checked = prepared.settings, prepared.checked
    recipe, spec = checked.recipe, settings.model
    model = build_model(spec, recipe.parts, num_classes=prepared.num_classes, image_size=settings.pixels)
    model = to_device(model, checked.device, channels_last=settings.runtime.channels_last)
    setup = TrainerSetup(
        key=Key(settings.seed),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        sample=sample,
        teacher=teacher,
        start=start_from(spec.weights, new_head=spec.new_head) if spec.weights else None,
        world=world,
        whole=whole,
        sync_norm=settings.runtime.sync_norm,
    )
    return Trainer(recipe, model, checked.task, Length(steps_per_epoch, settings.epochs * steps_per_epoch), setup)


def warm_up(make: Callable[[], Trainer], train: Loader, steps: int) -> float:
    """Take ``steps`` steps with a trainer that is thrown away, from all over the run; the seconds they took.

    What is done once in a process (compilation, the choice of kernels, the first memory) is then done before the clock
    of the run. Draws are keyed, so the run itself is the same bit for bit.
    """
    if not steps:
        return 0.0
    start, trainer = time.perf_counter(), make()
    trainer.model.train()
    for step, batch in enumerate(islice(train.epoch(0), steps)):
        trainer.steps_done = step * trainer.length.total_steps // steps  # every size and phase of the run comes by
        trainer.step(batch)
    synchronise(trainer.device)
    return time.perf_counter() - start


def compile_step(settings: Settings, trainer: Trainer) -> float:
    """Let the trainer's forward and backward pass be compiled, before the clock of the training runs; the seconds."""
    recipe, runtime = trainer.recipe, settings.runtime
    if trainer.world.size > 1:
        raise UserError("runtime.compile=true: is for runs on one device; type runtime.compile=false or devices=1")
    views = recipe.map_images[1].views if recipe.map_images else 1
    count = views * min(recipe.micro_batch or settings.batch_size, settings.batch_size)
    images = grey_images(count, settings.pixels, trainer.device, channels_last=runtime.channels_last)
    trainer.forward = compiled(trainer.model, runtime.compile_mode)
    with autocast(recipe.precision, trainer.device):
        return compile_on(trainer.forward, trainer.model, images)


def run_epochs(
    settings: Settings, keeper: RunCheckpointer, reporter: Reporter, *, save: Callable[[EpochRows], object]
) -> None:
    """Train and evaluate the epochs that are left; ``save`` is given the rows of all that were evaluated."""
    trainer, progress, (train, val) = keeper.trainer, keeper.progress, keeper.loaders
    while progress.epoch <= settings.epochs:
        mean_loss = train_epoch(keeper, reporter)
        keeper.end_of_epoch()
        rows: EpochRows = []
        if progress.epoch % settings.runtime.eval_every == 0 or progress.epoch == settings.epochs:
            trainer.refresh_norms(islice(keeper.interruptible(train.epoch(progress.epoch)), REFRESH_BATCHES))
            for copy, model in trainer.copies().items():
                scores = accuracy(predictor(trainer.recipe, model), keeper.interruptible(val.epoch(0)), trainer.world)
                about = {"epoch": progress.epoch, "copy": copy, "steps": trainer.steps_done, "train_loss": mean_loss}
                rows.append({**about, **scores, "train_seconds": progress.train_seconds})
        progress.end_epoch(rows)
        for row in rows:
            reporter.epoch(row)
        if rows:
            save(progress.rows)
    keeper.end_of_epoch()


def train_epoch(keeper: RunCheckpointer, reporter: Reporter) -> float:
    """The steps of an epoch that are left; the mean of the minimised loss. Nothing waits for the device but the end."""
    trainer, progress, train = keeper.trainer, keeper.progress, keeper.loaders[0]
    before, start = progress.train_seconds, time.perf_counter()
    at = progress.taken

    def batches() -> Iterator[Batch]:
        nonlocal at
        try:
            for at, batch in train.numbered(progress.epoch - 1, progress.taken):  # noqa: B007
                yield batch
        except RuntimeError as error:
            if is_dead_worker(error):
                keeper.worker_died()
            raise

    for loss in trainer.epoch(batches()):
        progress.total = loss if progress.total is None else progress.total + loss
        progress.taken, progress.train_seconds = at + 1, before + time.perf_counter() - start
        reporter.step()
        if trainer.world.leads:  # the others have the same loss
            keeper.watch.see(trainer.steps_done, loss)
        keeper.step()
    synchronise(trainer.device)
    keeper.watch.flush()
    progress.taken, progress.train_seconds = len(train), before + time.perf_counter() - start
    if progress.total is None:
        raise DataError(f"epoch {progress.epoch}: there was not one readable image; look at data.root")
    return progress.total.item() / len(train)


def final_metrics(rows: EpochRows, epochs: int) -> dict[str, Any]:
    """The last epoch's scores: of the last weights at the top, of averaged copies under ``copies``."""
    scores = {row["copy"]: {key: row[key] for key in SCORES} for row in rows if row["epoch"] == epochs}
    last = scores.pop("last")
    return {**last, "copies": scores} if scores else last


def learning_curve(rows: EpochRows) -> list[dict[str, Any]]:
    """When each copy of the weights had which top-1, in seconds of training: it tells the time to an accuracy."""
    return [{key: row[key] for key in CURVE} for row in rows]
