"""One run from its settings to its record: check, find the data, train, evaluate, measure, write."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from bagoftricks.data import Dataset, Loader, eval_loader, find_dataset, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.edits import Images
from bagoftricks.errors import UserError
from bagoftricks.evaluate.accuracy import SCORES, accuracy
from bagoftricks.evaluate.speed import peak_memory_mib, reset_peak_memory, synchronise, time_inference
from bagoftricks.models import build_model, place
from bagoftricks.rng import Key
from bagoftricks.settings import Settings
from bagoftricks.study.check import Checked, check, complexity, test_pixels
from bagoftricks.study.environment import environment
from bagoftricks.study.identity import run_id, run_identity
from bagoftricks.study.store import WEIGHTS, Record, Store, write_whole
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


class RunElsewhere(RuntimeError):
    """Another process has the run."""


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says when and why."""


@dataclass(frozen=True)
class Prepared:
    """A run that is known to be possible, and its id."""

    settings: Settings
    checked: Checked
    data: Dataset
    num_classes: int
    identity: dict[str, Any]

    @property
    def id(self) -> str:
        return run_id(self.identity)


def prepare(settings: Settings, checked: Checked | None = None, data: Dataset | None = None) -> Prepared:
    """Check the settings, find the data, and name the run; nothing is decoded. What is known already can be given."""
    checked = checked or check(settings)
    data = data or find_dataset(settings.data)
    num_classes = class_count(settings, data)
    if (count := len(data.train.labels)) < settings.batch_size:
        raise UserError(
            f"batch_size={settings.batch_size}: there are only {count} training images; type batch_size={count} or less"
        )
    identity = run_identity(settings, checked.tricks, data.digest, num_classes)
    return Prepared(settings, checked, data, num_classes, identity)


def execute(settings: Settings, reporter: Reporter, command: str, data: Dataset | None = None) -> Record:
    """The record of the run with these settings: the stored one, or a new one after training. ``data`` if it is known.

    Raises UserError before any image is decoded, RunElsewhere while another process trains the run, TrainingFailed for
    a loss that is not finite. A run that does not finish leaves a mark of how it ended beside its metrics.
    """
    started = time.perf_counter()
    store = Store(settings.store)
    store.writable()
    prepared = prepare(settings, data=data)
    name = prepared.id
    if not settings.rerun and (record := store.record(name)):
        reporter.note(f"run {name} is finished: this is its record (rerun=true trains it anew)")
        return record
    lease = store.claim(name)
    if lease is None:
        raise RunElsewhere(f"run {name} is being trained by another process: wait for it, or change a setting")
    with lease:
        if not settings.rerun and (record := store.record(name)):
            return record  # finished between the look and the claim
        store.clear_marks(name)
        try:
            measured = train_and_measure(prepared, store, reporter)
        except KeyboardInterrupt:
            store.mark_interrupted(name)
            raise
        except BaseException as error:
            store.mark_failed(name, f"{error}" or type(error).__name__, traceback.format_exc())
            raise
        measured["cost"]["wall_seconds"] = time.perf_counter() - started
        record = make_record(prepared, measured, command)
        if not lease.held():
            raise RunElsewhere(f"run {name} was taken over by another process while this one did not answer")
        store.write_record(record)
    return record


def train_and_measure(prepared: Prepared, store: Store, reporter: Reporter) -> dict[str, Any]:
    """Train, write metrics and weights, and measure: ``metrics``, ``cost`` and the broken files that were skipped."""
    settings, data, device = prepared.settings, prepared.data, prepared.checked.device
    reporter.note(
        f"{data.name}: {len(data.train.labels):,} training and {len(data.val.labels):,} validation images of "
        f"{len(data.classes)} classes at {settings.pixels} pixels, on {device}"
    )
    for warning in prepared.checked.warnings():
        reporter.note(f"warning: {warning}")
    train, val = loaders(settings, prepared.checked, data, prepared.num_classes)
    trainer = make_trainer(
        settings, prepared.checked, prepared.num_classes, steps_per_epoch=len(train), sample=train.sample
    )
    reset_peak_memory(device)
    reporter.begin(prepared.id, trainer.task.total_steps)
    try:
        rows, train_seconds = run_epochs(
            settings, trainer, train, val, reporter, save=lambda rows: store.write_metrics(prepared.id, rows)
        )
    finally:
        reporter.end()
    memory = peak_memory_mib(device)
    for copy, model in trainer.copies().items():
        file = store.folder(prepared.id) / (WEIGHTS if copy == "last" else f"{copy}.{WEIGHTS}")
        write_whole(file, weights_writer(model))
    pixels = test_pixels(settings, trainer.recipe)
    timing = time_inference(trainer.model, pixels, channels_last=settings.runtime.channels_last)
    cost = {
        **complexity(settings, trainer.recipe, prepared.num_classes),
        "train_images_per_s": settings.epochs * train.images / train_seconds,
        "infer_images_per_s": timing.images_per_s,
        "infer_spread": timing.spread,
        "peak_memory_mib": memory,
        "train_seconds": train_seconds,
    }
    metrics = final_metrics(rows, settings.epochs)
    return {"metrics": metrics, "cost": cost, "skipped": [*train.skipped, *val.skipped]}


def make_record(prepared: Prepared, measured: dict[str, Any], command: str) -> Record:
    settings, data = prepared.settings, prepared.data
    return Record(
        id=prepared.id,
        status="done",
        tricks=prepared.identity["tricks"],
        data={
            "name": data.name,
            "train_images": len(data.train.labels),
            "val_images": len(data.val.labels),
            "classes": len(data.classes),
            "digest": data.digest,
            "skipped": measured["skipped"],
        },
        model=prepared.identity["model"],
        seed=settings.seed,
        epochs=settings.epochs,
        metrics=measured["metrics"],
        cost=measured["cost"],
        environment=environment(prepared.checked.device),
        command=command,
        config=asdict(settings),
    )


def loaders(settings: Settings, checked: Checked, data: Dataset, num_classes: int) -> tuple[Loader, Loader]:
    """The training and the validation batches."""
    runtime, size = settings.runtime, settings.pixels
    finish = Finish(settings.data, num_classes, checked.device, channels_last=runtime.channels_last)
    recipe = checked.recipe(Task(num_classes, settings.batch_size, 1, 1))
    train = train_loader(
        data.train,
        settings.data,
        finish,
        size=size,
        batch_size=settings.batch_size,
        reads=recipe.reads,
        policy=recipe.map_images,
        key=Key(settings.seed),
        workers=runtime.workers,
        on_device=runtime.data_on_device,
    )
    val = eval_loader(
        data.val,
        settings.data,
        finish,
        size=test_pixels(settings, recipe),
        short_side=recipe.test_size.short_side if recipe.test_size else None,
        batch_size=runtime.eval_batch_size,
        workers=runtime.workers,
        on_device=runtime.data_on_device,
    )
    return train, val


def make_trainer(
    settings: Settings,
    checked: Checked,
    num_classes: int,
    *,
    steps_per_epoch: int,
    sample: Callable[[int], Images] | None = None,
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


def class_count(settings: Settings, data: Dataset) -> int:
    """Outputs of the network: what was asked for, else the data's classes."""
    if settings.num_classes is None:
        return len(data.classes)
    if settings.num_classes < len(data.classes):
        raise UserError(f"num_classes={settings.num_classes}: the data has {len(data.classes)} classes; leave it out")
    return settings.num_classes


def weights_writer(model: nn.Module) -> Callable[[Path], None]:
    """Writes the network's tensors in the safetensors format, which loads without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, path)

    return write
