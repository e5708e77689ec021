"""One run from its settings to its record: check, find the data, train, evaluate, measure, write."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from bagoftricks.data import Dataset, Loader, eval_loader, find_dataset, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.edits import Images, Predict, SetTeacher
from bagoftricks.errors import UserError
from bagoftricks.evaluate.accuracy import SCORES, accuracy
from bagoftricks.evaluate.speed import peak_memory_mib, reset_peak_memory, synchronise, time_inference
from bagoftricks.models import build_model, place
from bagoftricks.models.weights import start_from
from bagoftricks.recipe import Recipe
from bagoftricks.rng import Key
from bagoftricks.settings import Settings
from bagoftricks.study.check import Checked, check, complexity, test_pixels, weights_digest
from bagoftricks.study.environment import environment
from bagoftricks.study.identity import run_id, run_identity
from bagoftricks.study.store import Record, Store, write_whole
from bagoftricks.study.teacher import Online, Said, Teacher, find_teacher, said_offline
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
    teacher: Teacher | None = None

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
    return Prepared(settings, checked, data, num_classes, identity, teacher)


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
    for warning in [*prepared.checked.warnings(), *teacher_warnings(prepared)]:
        reporter.note(f"warning: {warning}")
    said = teacher_offline(prepared)
    train, val = loaders(prepared, said)
    trainer = make_trainer(
        settings,
        prepared.checked,
        prepared.num_classes,
        steps_per_epoch=len(train),
        sample=train.sample,
        teacher=teacher_online(prepared),
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
        write_whole(store.weights(prepared.id, copy), weights_writer(model.state_dict()))
    pixels = test_pixels(settings, trainer.recipe)
    timing = time_inference(
        trainer.model,
        pixels,
        channels_last=settings.runtime.channels_last,
        wrap_predict=trainer.recipe.wrap_predict,
    )
    cost = {
        **complexity(settings, trainer.recipe, prepared.num_classes),
        "train_images_per_s": settings.epochs * train.images / train_seconds,
        "infer_images_per_s": timing.images_per_s,
        "infer_spread": timing.spread,
        "peak_memory_mib": memory,
        "train_seconds": train_seconds,
        **(prepared.teacher.cost() if prepared.teacher else {}),
        **({"teacher_seconds": said.seconds} if said else {}),
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
            **({"teacher": prepared.teacher.about()} if prepared.teacher else {}),
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


def teacher_warnings(prepared: Prepared) -> list[str]:
    teacher = prepared.teacher
    if teacher is None or teacher.data in (None, prepared.data.digest):
        return []
    return [f"the teacher {teacher.source} was trained on other data: its classes must be in the same order"]


def teacher_online(prepared: Prepared) -> Predict | None:
    """The teacher that sees the training batches."""
    settings, device, teacher, asked = prepared.settings, prepared.checked.device, prepared.teacher, prepared.asked
    if teacher is None or asked is None or not asked.online:
        return None
    precision = teacher.precision_for(prepared.recipe.precision, device)
    return Online(teacher, settings.data, device, precision, channels_last=settings.runtime.channels_last)


def teacher_offline(prepared: Prepared) -> Said | None:
    """What the teacher says of each training image, before the run."""
    settings, device, teacher, asked = prepared.settings, prepared.checked.device, prepared.teacher, prepared.asked
    if teacher is None or asked is None or asked.online:
        return None
    # Kept decoded, images have the student's size: those of another size are read again.
    data = prepared.data if teacher.pixels == settings.pixels else find_dataset(settings.data)
    precision = teacher.precision_for(prepared.recipe.precision, device)
    return said_offline(teacher, data, settings, device, precision, prepared.num_classes)


def loaders(prepared: Prepared, said: Said | None = None) -> tuple[Loader, Loader]:
    """The training batches, with what a teacher said of them, and the validation batches."""
    settings, data, device = prepared.settings, prepared.data, prepared.checked.device
    runtime, size = settings.runtime, settings.pixels
    finish = Finish(settings.data, prepared.num_classes, device, channels_last=runtime.channels_last)
    recipe, asked = prepared.recipe, prepared.asked
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
        teacher=said.probabilities(asked.temperature, device) if said and asked else None,
        on_device=runtime.data_on_device,
    )
    short_side = recipe.test_size.short_side if recipe.test_size else None
    return train, val_loader(settings, finish, data, size=test_pixels(settings, recipe), short_side=short_side)


def val_loader(settings: Settings, finish: Finish, data: Dataset, *, size: int, short_side: int | None) -> Loader:
    """The validation images, each of them once, cropped from ``short_side`` (by default size / 0.875) to ``size``."""
    runtime = settings.runtime
    return eval_loader(
        data.val,
        settings.data,
        finish,
        size=size,
        short_side=short_side,
        batch_size=runtime.eval_batch_size,
        workers=runtime.workers,
        on_device=runtime.data_on_device,
    )


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


def class_count(settings: Settings, data: Dataset) -> int:
    """Outputs of the network: what was asked for, else the data's classes."""
    if settings.num_classes is None:
        return len(data.classes)
    if settings.num_classes < len(data.classes):
        raise UserError(f"num_classes={settings.num_classes}: the data has {len(data.classes)} classes; leave it out")
    return settings.num_classes


def weights_writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """Writes tensors in the safetensors format, which loads without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)

    return write
