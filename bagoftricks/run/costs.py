"""Costs of a run. Those of predictions do not depend on the seed: each arm has them measured once on a machine."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from bagoftricks.errors import UserError
from bagoftricks.folders import cache_folder
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import time_inference
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.run.environment import environment
from bagoftricks.run.epochs import Training, learning_curve
from bagoftricks.run.prepare import Prepared
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.record import Cost, Environment, Record, quartiles
from bagoftricks.store.secrets import hide
from bagoftricks.store.store import Store
from bagoftricks.training.trainer import Trainer

TIMING_SHARE = 0.01  # of the training's seconds, that timing predictions may take
MOST_SECONDS, MOST_OF_ONE = 3.0, 1.0  # for batches, and for single images
NAME_BYTES = 200  # of a run
OF_A_MACHINE = ("device", "cores", "threads", "python", "torch", "torchvision", "numpy", "bagoftricks", "host")
OF_THE_CODE = ("git_revision", "git_dirty")


@dataclass(frozen=True)
class InferenceCost:
    """Costs of a network's predictions, the same for all seeds of an arm."""

    macs: int
    infer_images_per_s: float
    infer_spread: float
    latency_ms: float
    measured_by: str | None = None  # run whose record they are taken from


def cost_of(
    prepared: Prepared, training: Training, store: Store, peak_memory: float, wall_seconds: Callable[[], float]
) -> Cost:
    """Return the costs of a run; ``wall_seconds`` returns those of the run so far."""
    trainer, progress, teacher = training.trainer, training.progress, prepared.teacher
    predictions = inference_cost(prepared, training, store)
    return Cost(
        params=count_params(trainer.model),
        macs=predictions.macs,
        infer_images_per_s=predictions.infer_images_per_s,
        infer_spread=predictions.infer_spread,
        latency_ms=predictions.latency_ms,
        measured_by=predictions.measured_by,
        train_images_per_s=prepared.settings.epochs * training.loaders[0].images / progress.train_seconds,
        peak_memory_mib=peak_memory,
        train_seconds=progress.train_seconds,
        epoch_seconds=quartiles(np.diff(progress.epoch_ends).tolist()),
        curve=learning_curve(progress.rows, prepared.settings.task.first),
        warmup_seconds=training.seconds.warmup,
        compile_seconds=training.seconds.compile,
        teacher_seconds=training.seconds.teacher,
        **(teacher.cost() if teacher else {}),
        wall_seconds=wall_seconds(),
    )


def inference_cost(prepared: Prepared, training: Training, store: Store) -> InferenceCost:
    """Return the costs of predictions: those that a run of the same arm measured on this machine, else new ones.

    With rerun=true they are new ones in any case.
    """
    machine = environment(prepared.device, training.trainer.world.size)
    path = cache_folder() / "costs" / arm_on_machine(prepared, machine, store)
    if not prepared.settings.rerun and (known := known_cost(path, prepared, machine, store)):
        return known
    measured = time_predictions(prepared, training.trainer, training.progress.train_seconds)
    with suppress(OSError):  # the next run measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write_text(prepared.id, encoding="utf-8"))
    return measured


def time_predictions(prepared: Prepared, trainer: Trainer, train_seconds: float) -> InferenceCost:
    """Count and time predictions, for a small share of the training's seconds."""
    pixels, seconds = test_pixels(prepared.settings, trainer.recipe), TIMING_SHARE * train_seconds
    channels_last, wrap = prepared.settings.runtime.channels_last, trainer.recipe.wrap_predict
    time_batches = partial(time_inference, trainer.model, pixels, channels_last=channels_last, wrap_predict=wrap)
    many = time_batches(budget_s=min(MOST_SECONDS, 0.75 * seconds))
    one = time_batches(batch=1, budget_s=min(MOST_OF_ONE, 0.25 * seconds))
    return InferenceCost(
        macs=count_macs(trainer.model, pixels),
        infer_images_per_s=many.images_per_s,
        infer_spread=many.spread,
        latency_ms=1000 * one.seconds,
    )


def known_cost(path: Path, prepared: Prepared, machine: Environment, store: Store) -> InferenceCost | None:
    """Return the costs in the record of the run that a file names, if they were measured for this arm here."""
    try:
        record = store.record(read_file(path, NAME_BYTES).decode())
    except (OSError, ValueError, UserError):  # none yet; or damaged, and measured again
        return None
    if record is None or record.cost.measured_by is not None or not is_of(record, prepared, machine):
        return None
    cost = record.cost
    return InferenceCost(cost.macs, cost.infer_images_per_s, cost.infer_spread, cost.latency_ms, record.id)


def is_of(record: Record, prepared: Prepared, machine: Environment) -> bool:
    """Return True if a record is of this arm, from this machine: the record decides, not the name of a file."""
    identity, settings = prepared.identity, prepared.settings
    theirs = [record.tricks, record.model, record.data.digest, record.data.image_size, record.epochs]
    ours = [hide(identity["tricks"]), hide(identity["model"]), prepared.data.digest, settings.pixels, settings.epochs]
    return facts_of(record.environment) == facts_of(machine) and json.dumps(theirs) == json.dumps(ours)


def facts_of(machine: Environment) -> Mapping[str, object]:
    """Return what the speed of a network depends on, besides the load."""
    return {name: getattr(machine, name) for name in (*OF_A_MACHINE, *OF_THE_CODE)}


def arm_on_machine(prepared: Prepared, machine: Environment, store: Store) -> str:
    """Return a name of all that a run's predictions depend on, its identity but for the seed and the machine."""
    arm = {name: value for name, value in prepared.identity.items() if name != "seed"}
    runtime = prepared.settings.runtime
    facts = [arm, dict(facts_of(machine)), runtime.channels_last, str(store.root.absolute())]
    return blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=10).hexdigest()
