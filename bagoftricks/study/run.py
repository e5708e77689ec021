"""One run from its settings to its record: check, find the data, train, evaluate, measure, write."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from bagoftricks.data import Dataset
from bagoftricks.evaluate.speed import peak_memory_mib, reset_peak_memory, time_inference
from bagoftricks.files import write_whole
from bagoftricks.settings import Settings
from bagoftricks.study.check import complexity, test_pixels
from bagoftricks.study.environment import environment
from bagoftricks.study.loading import loaders, teacher_offline, teacher_online, teacher_warnings
from bagoftricks.study.prepare import Prepared, prepare
from bagoftricks.study.store import Record, Store
from bagoftricks.study.training import Reporter, final_metrics, make_trainer, run_epochs


class RunElsewhere(RuntimeError):
    """Another process has the run."""


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


def weights_writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """Writes tensors in the safetensors format, which loads without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)

    return write
