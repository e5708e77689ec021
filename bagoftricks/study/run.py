"""One run from its settings to its record: compose, find the data, train, evaluate, measure, write."""

import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bagoftricks.catalogue import create
from bagoftricks.compose import compose
from bagoftricks.data import Dataset, Loader, eval_loader, find_dataset, train_loader
from bagoftricks.data.loaders import Finish
from bagoftricks.errors import UserError
from bagoftricks.evaluate.accuracy import accuracy
from bagoftricks.evaluate.complexity import count_macs, count_params
from bagoftricks.evaluate.speed import peak_memory_mib, reset_peak_memory, synchronise, time_inference
from bagoftricks.models import build_model
from bagoftricks.parameters import param_groups
from bagoftricks.recipe import Recipe
from bagoftricks.rng import Key
from bagoftricks.settings import Settings
from bagoftricks.study.identity import run_id, run_identity
from bagoftricks.study.store import WEIGHTS, Record, Store, write_whole
from bagoftricks.train import Trainer, gradient_scaler, predictor
from bagoftricks.trick import Task, Trick


class Reporter(Protocol):
    """Who is told how a run gets on."""

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, row: Mapping[str, Any]) -> None: ...

    def end(self) -> None: ...


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says when and why."""


@dataclass(frozen=True)
class Checked:
    """Tricks that are known to compose, to fit the network and to fit the device, with what they cost."""

    tricks: dict[str, Trick]
    device: torch.device
    params: int
    macs: int


def check(settings: Settings) -> Checked:
    """Refuse a wrong choice of tricks, network or device before any data is looked at.

    Raises ConflictError, NoEffectError or UserError. The network is built on the meta device, which costs nothing.
    """
    device = find_device(settings.runtime.device)
    tricks = make_tricks(settings)
    num_classes = settings.num_classes or settings.data.num_classes
    recipe = compose(tricks, Task(num_classes, settings.batch_size, steps_per_epoch=100, total_steps=100))
    gradient_scaler(recipe.precision, device)
    model = meta_model(settings, recipe, num_classes)
    check_selectors(recipe, model)
    return Checked(tricks, device, count_params(model), count_macs(model, settings.pixels))


def make_tricks(settings: Settings) -> dict[str, Trick]:
    return {name: create(name, **params) for name, params in sorted(settings.tricks.items())}


def meta_model(settings: Settings, recipe: Recipe, num_classes: int) -> nn.Module:
    """The network without storage: it has shapes and costs nothing to build."""
    with torch.device("meta"):
        return build_model(settings.model, recipe.parts, num_classes=num_classes, image_size=settings.pixels)


def check_selectors(recipe: Recipe, model: nn.Module) -> None:
    """Raise NoEffectError for an initialisation or a scale that matches none of the network's parameters."""
    from bagoftricks.parameters import nothing_selected, owned_parameters

    param_groups(model, recipe.param_scales, lr=1.0, weight_decay=1.0)
    for trick, edit in recipe.inits:
        if not any(edit.select(module, name) for module, name, _, _ in owned_parameters(model)):
            raise nothing_selected(trick, model, "initialise")


def execute(settings: Settings, reporter: Reporter, command: str) -> Record:
    """The record of the run with these settings: the stored one, or a new one after training."""
    started = time.perf_counter()
    checked = check(settings)
    store = Store(settings.store)
    store.writable()
    data = find_dataset(settings.data)
    num_classes = class_count(settings, data)
    identity = run_identity(settings, checked.tricks, data.digest, num_classes)
    name = run_id(identity)
    if not settings.rerun and (record := store.record(name)):
        reporter.note(f"run {name} is finished: this is its record (rerun=true trains it anew)")
        return record

    key, device, channels_last = Key(settings.seed), checked.device, settings.runtime.channels_last
    finish = Finish(settings.data, num_classes, device, channels_last=channels_last)
    task = Task(num_classes, settings.batch_size, steps_per_epoch=1, total_steps=1)
    reads = compose(checked.tricks, task).reads
    workers, size = settings.runtime.workers, settings.pixels
    train = train_loader(
        data.train, settings.data, finish, size=size, batch_size=settings.batch_size, reads=reads, key=key, workers=workers
    )
    val = eval_loader(
        data.val, settings.data, finish, size=size, batch_size=settings.runtime.eval_batch_size, workers=workers
    )
    task = Task(num_classes, settings.batch_size, len(train), settings.epochs * len(train))
    recipe = compose(checked.tricks, task)
    model = build_model(settings.model, recipe.parts, num_classes=num_classes, image_size=size).to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(recipe, model, task, key=key, lr=settings.lr, weight_decay=settings.weight_decay)

    reset_peak_memory(device)
    reporter.begin(name, task.total_steps)
    try:
        rows = run_epochs(settings, trainer, train, val, reporter, lambda rows: store.write_metrics(name, rows))
    finally:
        reporter.end()
    memory = peak_memory_mib(device)
    for copy, weights in trainer.copies().items():
        file = WEIGHTS if copy == "last" else f"{copy}.{WEIGHTS}"
        write_whole(store.folder(name) / file, lambda path, w=weights: save_weights(w, path))  # type: ignore[misc]
    timing = time_inference(model, size, channels_last=channels_last)

    final = [row for row in rows if row["epoch"] == settings.epochs]
    scores = {row["copy"]: {k: row[k] for k in ("top1", "top5", "loss")} for row in final}
    train_seconds = sum(row["train_seconds"] for row in rows if row["copy"] == "last")
    record = Record(
        id=name,
        status="done",
        tricks=identity["tricks"],
        data={
            "name": data.name,
            "train_images": len(data.train.labels),
            "val_images": len(data.val.labels),
            "classes": len(data.classes),
            "digest": data.digest,
            "skipped": [*train.skipped, *val.skipped],
        },
        model=identity["model"],
        seed=settings.seed,
        epochs=settings.epochs,
        metrics={**scores.pop("last"), **({"copies": scores} if scores else {})},
        cost={
            "params": checked.params if num_classes == settings.data.num_classes else count_params(model),
            "macs": count_macs(meta_model(settings, recipe, num_classes), size),
            "train_images_per_s": settings.epochs * train.images / train_seconds,
            "infer_images_per_s": timing.images_per_s,
            "infer_spread": timing.spread,
            "peak_memory_mib": memory,
            "train_seconds": train_seconds,
            "wall_seconds": time.perf_counter() - started,
        },
        environment=environment(device),
        command=command,
        config=asdict(settings),
    )
    store.write_record(record)
    return record


def run_epochs(
    settings: Settings, trainer: Trainer, train: Loader, val: Loader, reporter: Reporter, save: Any
) -> list[dict[str, Any]]:
    """Train and evaluate; one row per epoch and evaluated copy. Nothing waits for the device within an epoch."""
    rows: list[dict[str, Any]] = []
    for epoch in range(settings.epochs):
        start = time.perf_counter()
        total: Tensor | None = None
        for loss in trainer.epoch(train.epoch(epoch)):
            total = loss if total is None else total + loss
            reporter.step()
        mean_loss = float("nan") if total is None else total.item() / len(train)
        synchronise(trainer.device)
        seconds = time.perf_counter() - start
        if not mean_loss < float("inf"):
            raise TrainingFailed(
                f"the training loss is {mean_loss} in epoch {epoch + 1}: try a lower lr= (it is {settings.lr:g}) "
                "or a longer +efficiency=warmup"
            )
        last = epoch + 1 == settings.epochs
        if not last and (epoch + 1) % settings.runtime.eval_every:
            continue
        for copy, model in trainer.copies().items():
            scores = accuracy(predictor(trainer.recipe, model), val.epoch(0))
            row = {"epoch": epoch + 1, "copy": copy, "steps": trainer.steps_done, "train_loss": mean_loss, **scores}
            rows.append({**row, "train_seconds": seconds})
            reporter.epoch(rows[-1])
        save(rows)
    return rows


def class_count(settings: Settings, data: Dataset) -> int:
    """Outputs of the network: what was asked for, else the data's classes."""
    if settings.num_classes is None:
        return len(data.classes)
    if settings.num_classes < len(data.classes):
        raise UserError(f"num_classes={settings.num_classes}: the data has {len(data.classes)} classes; leave it out")
    return settings.num_classes


def find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"runtime.device={name}: must be auto, cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"runtime.device={name}: there are {torch.cuda.device_count()} GPUs here; use runtime.device=cpu")
    return device


def save_weights(model: nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, path)


def environment(device: torch.device) -> dict[str, Any]:
    """What the run was carried out with."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("bagoftricks", "torch", "torchvision", "numpy")},
        **git_state(),
    }


def git_state() -> dict[str, Any]:
    """Revision of the checkout the package runs from, and whether it has uncommitted changes; empty for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        revision, status = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_revision": revision.strip(), "git_dirty": bool(status.strip())}
