"""Batches of a split, from memory where its images are small, else as a stream: the two give the same batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.cache import cached
from bagoftricks.data.memory import MemoryLoader, into_memory, prepared_whole
from bagoftricks.data.plan import StepPlan, Table, table_rows
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.shares import Shares
from bagoftricks.data.sources import Labels, Split, source_of
from bagoftricks.data.stream import StreamLoader, prepare_batches, worker_count
from bagoftricks.recipe.edits import Images, MapImages, SetFlip, SetSampling
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

Loader = MemoryLoader | StreamLoader
IN_THIS_PROCESS = Reading()


@dataclass(frozen=True, kw_only=True)
class TrainBatches:
    """Shuffled, augmented batches of ``reads * batch_size`` images; the last incomplete one is left out."""

    size: int  # side in pixels
    batch_size: int
    key: Key
    reads: int = 1  # passes over the images that go into each step
    policy: tuple[str, MapImages] | None = None
    flips: SetFlip | None = None
    sampling: SetSampling | None = None
    repeats: int = 1  # samples of each image in a pass of a step
    teacher: Table | None = None  # row i goes with image i of the split, wherever the batch has it


@dataclass(frozen=True, kw_only=True)
class EvalBatches:
    """Batches of every image exactly once, in order, without randomness."""

    size: int  # side in pixels
    batch_size: int
    short_side: int | None = None  # before the centre is cut out; None: size / 0.875


def train_loader(
    split: Split, data: DataSettings, finish: Finish, batches: TrainBatches, reading: Reading = IN_THIS_PROCESS
) -> Loader:
    """Return a loader of training batches."""
    whole = has_boxes(split)
    augment = Augment.from_settings(data, batches.size, batches.key, batches.policy, batches.flips, whole=whole)
    copies = batches.sampling.copies(split.labels) if batches.sampling else None
    plan = StepPlan(len(split.labels), batches.batch_size, batches.key, batches.reads, copies, batches.repeats)
    return _loader(split, data, Preparation(plan, augment, finish, batches.teacher), reading)


def eval_loader(
    split: Split, data: DataSettings, finish: Finish, batches: EvalBatches, reading: Reading = IN_THIS_PROCESS
) -> Loader:
    """Return a loader of validation batches, dealt out to the ranks."""
    augment = Augment.plain(data, batches.size, batches.short_side, whole=has_boxes(split))
    plan = StepPlan(len(split.labels), batches.batch_size)
    shares = Shares(reading.shares.world, dealt=True)
    return _loader(split, data, Preparation(plan, augment, finish), replace(reading, shares=shares))


def _loader(split: Split, data: DataSettings, preparation: Preparation, reading: Reading) -> Loader:
    shares, plan, augment = reading.shares, preparation.plan, preparation.augment
    workers = worker_count(reading.workers, shares.world)
    if not prepared_whole(augment, plan.count):
        if data.on_error == "skip" and not shares.dealt:
            shares = replace(shares, whole=shares.world.size > 1)  # the counts of each rank are known after reading
        on_gpu = data.decode == "gpu" and split.file(0) is not None
        how = replace(reading, workers=workers, on_error=data.on_error, on_gpu=on_gpu, shares=shares)
        return StreamLoader(cached(split, data.cache, shares.world.local_size), preparation, how)
    plain = Augment.plain(data, augment.size, augment.short_side, whole=augment.whole)
    loaded, skipped, rows = into_memory(split, plain, data, workers, shares.world)
    teacher = table_rows(preparation.teacher, torch.from_numpy(rows)) if skipped else preparation.teacher
    preparation = replace(preparation, plan=plan.left(rows) if skipped else plan, teacher=teacher)
    return MemoryLoader(loaded, preparation, skipped, reading, rows)


def has_boxes(split: Split) -> bool:
    return source_of(split).boxes is not None


def images_in_order(
    split: Split, data: DataSettings, finish: Finish, *, size: int, batch_size: int, workers: int
) -> Iterator[tuple[Labels, Images]]:
    """Yield each readable image of a split once, not augmented: rows of the split, with images on the device."""
    for rows, images in bytes_in_order(split, data, size=size, batch_size=batch_size, workers=workers):
        yield rows, finish(images, torch.zeros(len(rows), dtype=torch.int64), None).images


def bytes_in_order(
    split: Split, data: DataSettings, *, size: int, batch_size: int, workers: int, short_side: int | None = None
) -> Iterator[tuple[Labels, UInt8[Tensor, "B 3 S S"]]]:
    """Yield each readable image of a split once, as for validation, in bytes on the host, with its rows of the split.

    With data.on_error=skip, broken files are left out.
    """
    workers = worker_count(workers)
    augment = Augment.plain(data, size, short_side, whole=has_boxes(split))
    plan = StepPlan(len(split.labels), batch_size)
    if prepared_whole(augment, plan.count):
        loaded, _, kept = into_memory(split, augment, data, workers)
        for start in range(0, len(kept), batch_size):
            yield kept[start : start + batch_size], loaded.images[start : start + batch_size]
        return
    for step in prepare_batches(split, plan, augment, workers):
        if step.broken and data.on_error == "fail":
            raise step.broken[0]
        if step.images is not None:
            yield np.array([sample.index for sample in step.samples]), step.images
