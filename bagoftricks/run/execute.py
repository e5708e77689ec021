"""One run from its settings to its record: check, find the data, train, evaluate, measure, write."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from bagoftricks.data import Dataset
from bagoftricks.data.cache import cache_note
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import LossNotFinite, RunElsewhere, TrainingFailed, UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import peak_memory_mib, reset_peak_memory, time_inference
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.run.check import discouraged_pairs, slow_arithmetic
from bagoftricks.run.environment import deterministic, environment
from bagoftricks.run.epochs import compile_step, final_metrics, learning_curve, make_trainer, run_epochs, warm_up
from bagoftricks.run.failures import explained, is_out_of_memory, release_memory, smaller
from bagoftricks.run.keeper import Progress, RunCheckpointer, numerics_environment
from bagoftricks.run.loading import loaders, teacher_logits, teacher_online, teacher_warnings
from bagoftricks.run.prepare import Prepared, prepare
from bagoftricks.run.reporter import Reporter
from bagoftricks.run.signals import Signals
from bagoftricks.run.watch import evidence
from bagoftricks.settings import Settings
from bagoftricks.store.checkpoints import FOLDER, Checkpoints, remove_leftovers
from bagoftricks.store.files import remove_temporaries, write_whole
from bagoftricks.store.lease import Lease, NullLease, require_held
from bagoftricks.store.store import ReadOnlyStore, Record, Store
from bagoftricks.training.trainer import Trainer

EVIDENCE = "evidence.json"  # of a loss that is not finite


def execute(
    settings: Settings, reporter: Reporter, command: str, data: Dataset | None = None, world: World = ALONE
) -> Record:
    """The record of the run with these settings: the stored one, or a new one after training. ``data`` if it is known.

    Every rank of ``world`` calls this; the first one writes.

    Raises UserError before any image is decoded, RunElsewhere while another process trains the run, TrainingFailed for
    a loss that is not finite. A run that does not finish leaves a mark of how it ended beside its metrics.
    """
    started = time.perf_counter()
    store = Store(settings.store) if world.leads else ReadOnlyStore(settings.store)
    store.writable()
    prepared = prepare(settings, data=data)
    name = prepared.id
    world.agree("their settings or data: the run's id", name)

    def finished() -> Record | None:
        return None if settings.rerun else store.record(name)

    if record := world.broadcast_object(finished):
        reporter.note(f"run {name} is finished: this is its record (rerun=true trains it anew)")
        if world.leads:
            remove_leftovers(store.folder(name))
        return record
    lease = store.claim(name) if world.leads else NullLease()
    if lease is None:
        raise RunElsewhere(f"run {name} is being trained by another process: wait for it, or change a setting")
    with lease:
        if record := world.broadcast_object(finished):
            return record  # finished between the look and the claim
        store.clear_marks(name)
        if world.leads:
            remove_temporaries(store.folder(name))
            remove_temporaries(store.folder(name) / FOLDER)
        signals = Signals()
        with recorded_outcome(prepared, store, lease, signals), deterministic(settings.runtime.deterministic):
            world.on_peer_lost(lambda error: store.mark_failed(name, f"{error}", ""))
            measured = train_with_room(prepared, store, lease, signals, reporter, world)

            def record_it() -> Record:
                measured["cost"]["wall_seconds"] += time.perf_counter() - started
                record = make_record(prepared, measured, command)
                store.write_record(record, before=partial(require_held, lease, name))
                return record

            record = world.broadcast_object(record_it)
        with suppress(OSError):  # the run is done
            checkpoints_of(prepared, store, lease).clear()
    return record


@contextmanager
def recorded_outcome(prepared: Prepared, store: Store, lease: Lease, signals: Signals) -> Iterator[None]:
    """Where the block does not come to its end, leave a mark of how, unless the run is no longer ours.

    An expected failure becomes a TrainingFailed that says what to do.
    """
    try:
        yield
    except KeyboardInterrupt:
        if lease.held():
            store.mark_interrupted(prepared.id)
        signals.pass_on()
        raise
    except BaseException as error:
        failure = explained(error, prepared.settings)
        if lease.held():
            text = f"{failure or error}" or type(error).__name__
            store.mark_failed(prepared.id, text, traceback.format_exc())
        if failure is not None:
            raise failure from error
        raise


def checkpoints_of(prepared: Prepared, store: Store, lease: Lease) -> Checkpoints:
    guard, writes = partial(require_held, lease, prepared.id), not isinstance(store, ReadOnlyStore)
    return Checkpoints(store.folder(prepared.id), prepared.settings.runtime, guard, writes=writes)


def train_with_room(
    prepared: Prepared, store: Store, lease: Lease, signals: Signals, reporter: Reporter, world: World
) -> dict[str, Any]:
    """Train and measure, where the user allows it with fewer images at a time whenever the memory does not suffice."""
    images: int | None = None
    if prepared.settings.runtime.auto_micro_batch and world.size > 1:
        raise UserError(
            "runtime.auto_micro_batch=true: works on one device only; leave it out, or type +efficiency=micro_batch"
        )
    while True:
        try:
            return train_and_measure(prepared, store, lease, signals, reporter, world, images)
        except (RuntimeError, MemoryError) as error:
            before = images or prepared.recipe.micro_batch or prepared.settings.batch_size
            images = smaller(before) if prepared.settings.runtime.auto_micro_batch else None
            if images is None or not is_out_of_memory(error):
                raise
        reporter.note(
            f"warning: out of memory with {before} images at a time: going on with {images}; batch norm's statistics "
            "are of fewer images now, so the result is another (the record says so)"
        )
        release_memory()


def train_and_measure(
    prepared: Prepared,
    store: Store,
    lease: Lease,
    signals: Signals,
    reporter: Reporter,
    world: World,
    micro_batch: int | None = None,
) -> dict[str, Any]:
    """Train, write metrics and weights, and measure: ``metrics``, ``cost``, the broken files that were skipped, in how
    many continuations, on how many devices. ``micro_batch``: images at a time, fewer than the recipe says.

    Only rank 0 measures; the others return nothing.
    """
    settings, data, device = prepared.settings, prepared.data, prepared.checked.device
    reporter.note(
        f"{data.name}: {len(data.train.labels):,} training and {len(data.val.labels):,} validation images of "
        f"{len(data.classes)} classes at {settings.pixels} pixels, on {device}"
        + (f" and {world.size - 1} more" if world.size > 1 else "")
    )
    slow = slow_arithmetic(prepared.recipe, device)
    for warning in [*discouraged_pairs(settings.tricks), *teacher_warnings(prepared), *slow]:
        reporter.note(f"warning: {warning}")
    if settings.data.cache in ("ram", "disk"):
        reporter.note(cache_note(settings.data.cache))
    said = teacher_logits(prepared, world)
    train, val = loaders(prepared, said, world)
    guard, checkpoints = partial(require_held, lease, prepared.id), checkpoints_of(prepared, store, lease)
    make = partial(
        make_trainer,
        prepared,
        len(train),
        sample=train.sample,
        teacher=teacher_online(prepared),
        world=world,
        whole=train.shares.whole,
    )
    warmup_seconds = warm_up(make, train, 0 if micro_batch else settings.runtime.warmup_steps)
    trainer = make()
    compiling = {"compile_seconds": compile_step(settings, trainer)} if settings.runtime.compile else {}
    keeper = RunCheckpointer(
        prepared.identity, numerics_environment(device, world.size), trainer, (train, val), checkpoints, signals
    )
    progress = train_kept(prepared, store, keeper, reporter, guard, micro_batch)
    memory = max(world.all_gather_object(peak_memory_mib(device)))
    skipped = sorted({file for files in world.all_gather_object([*train.skipped, *val.skipped]) for file in files})
    if not world.leads:
        return {}
    for copy, model in trainer.copies().items():
        write_whole(store.weights(prepared.id, copy), weights_writer(model.state_dict()), before=guard)
    time_batches = partial(
        time_inference,
        trainer.model,
        test_pixels(settings, trainer.recipe),
        channels_last=settings.runtime.channels_last,
        wrap_predict=trainer.recipe.wrap_predict,
    )
    timing, one = time_batches(), time_batches(batch=1, budget_s=1.0)
    cost = {
        "params": count_params(trainer.model),
        "macs": count_macs(trainer.model, test_pixels(settings, trainer.recipe)),
        "train_images_per_s": settings.epochs * train.images / progress.train_seconds,
        "infer_images_per_s": timing.images_per_s,
        "infer_spread": timing.spread,
        "latency_ms": 1000 * one.seconds,
        "peak_memory_mib": memory,
        "train_seconds": progress.train_seconds,
        "curve": learning_curve(progress.rows),
        **({"warmup_seconds": warmup_seconds} if warmup_seconds else {}),
        "wall_seconds": progress.wall_seconds,
        **compiling,
        **(prepared.teacher.cost() if prepared.teacher else {}),
        **({"teacher_seconds": said.seconds} if said else {}),
    }
    return {
        "metrics": final_metrics(progress.rows, settings.epochs),
        "cost": cost,
        "skipped": skipped,
        "environment": {"devices": world.size, "continuations": progress.continuations, **progress.reduced()},
    }


def train_kept(
    prepared: Prepared,
    store: Store,
    keeper: RunCheckpointer,
    reporter: Reporter,
    guard: Callable[[], object],
    micro_batch: int | None,
) -> Progress:
    """All epochs, or those that an earlier process left; how far the run has got then."""
    name, trainer = prepared.id, keeper.trainer
    if prepared.settings.rerun and micro_batch is None:
        keeper.checkpoints.clear()
    elif keeper.resume(reporter.note):
        reporter.note(f"continuing run {name} at step {trainer.steps_done:,} of {trainer.length.total_steps:,}")
    if not keeper.progress.continuations:
        keeper.progress.train_seconds = trainer.setup_seconds
    if micro_batch is not None:
        keeper.reduce(micro_batch)
    reset_peak_memory(trainer.device)
    reporter.begin(name, trainer.length.total_steps, trainer.steps_done)
    try:
        with keeper.signals:
            run_epochs(prepared.settings, keeper, reporter, save=partial(store.write_metrics, name, before=guard))
        keeper.checkpoints.wait()
    except LossNotFinite as error:
        if trainer.world.leads:
            keep_evidence(store, prepared, keeper, error)
        raise loss_failure(error, trainer, store.folder(name) / EVIDENCE) from error
    except Exception:
        with suppress(Exception):  # the first error is the one to tell
            keeper.checkpoints.wait()
        raise
    finally:
        reporter.end()
    return keeper.progress


def keep_evidence(store: Store, prepared: Prepared, keeper: RunCheckpointer, error: LossNotFinite) -> None:
    """Write down what can be known of a loss that is not finite."""
    with suppress(Exception):  # the loss is the news
        keeper.checkpoints.wait()
    found = evidence(error, keeper.trainer, keeper.loaders[0].plan, prepared.settings.seed)
    found["checkpoints_before"] = [step for step in keeper.checkpoints.steps() if step < error.step]
    text = json.dumps(found, indent=2) + "\n"
    with suppress(OSError):
        write_whole(store.folder(prepared.id) / EVIDENCE, lambda path: path.write_text(text, encoding="utf-8"))


def loss_failure(error: LossNotFinite, trainer: Trainer, path: Path) -> TrainingFailed:
    loss, steps = error.losses[error.step], trainer.length.steps_per_epoch
    return TrainingFailed(
        f"the training loss is {loss} at step {error.step:,} of {trainer.length.total_steps:,} (epoch "
        f"{(error.step - 1) // steps + 1}): type a lower lr=, or add +efficiency=warmup; {path} has the batch and the "
        "gradients"
    )


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
        environment={**environment(prepared.checked.device), **measured["environment"]},
        command=command,
        config=asdict(settings),
    )


def weights_writer(tensors: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """Writes tensors in the safetensors format, which loads without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)

    return write
