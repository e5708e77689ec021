"""Batches of a split, from memory where its images are small, else as a stream: the two give the same batches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.cache import cached
from bagoftricks.data.memory import MemoryLoader, into_memory, prepared_whole
from bagoftricks.data.plan import StepPlan, Table, table_rows
from bagoftricks.data.shares import UNSHARED, Shares
from bagoftricks.data.sources import Labels, Split
from bagoftricks.data.stream import StreamLoader, prepare_batches, worker_count
from bagoftricks.distributed import ALONE, World
from bagoftricks.recipe.edits import Images, MapImages, SetFlip
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

Loader = MemoryLoader | StreamLoader


def train_loader(
    split: Split,
    data: DataSettings,
    finish: Finish,
    *,
    size: int,
    batch_size: int,
    reads: int,
    key: Key,
    workers: int,
    policy: tuple[str, MapImages] | None = None,
    flips: SetFlip | None = None,
    teacher: Table | None = None,
    on_device: bool = True,
    shares: Shares = UNSHARED,
) -> Loader:
    """Shuffled, augmented batches of ``reads * batch_size`` images; the last incomplete one is left out.

    Row i of ``teacher`` goes with image i of the split, wherever the batch has it.
    """
    augment = Augment.from_settings(data, size, key, policy, flips)
    plan = StepPlan(len(split.labels), batch_size, key, reads)
    return _loader(split, plan, augment, finish, data, workers, shares, teacher=teacher, on_device=on_device)


def eval_loader(
    split: Split,
    data: DataSettings,
    finish: Finish,
    *,
    size: int,
    batch_size: int,
    workers: int,
    short_side: int | None = None,
    on_device: bool = True,
    world: World = ALONE,
) -> Loader:
    """Every image exactly once, in order, nothing random; the batches are dealt out to the ranks."""
    augment, plan = Augment.plain(data, size, short_side), StepPlan(len(split.labels), batch_size)
    return _loader(split, plan, augment, finish, data, workers, dealt(world), on_device=on_device)


def dealt(world: World) -> Shares:
    return Shares(world, dealt=True)


def _loader(
    split: Split,
    plan: StepPlan,
    augment: Augment,
    finish: Finish,
    data: DataSettings,
    workers: int,
    shares: Shares,
    *,
    teacher: Table | None = None,
    on_device: bool,
) -> Loader:
    workers = worker_count(workers, shares.world)
    if not prepared_whole(augment, plan.count):
        if data.on_error == "skip" and not shares.dealt:
            shares = replace(shares, whole=shares.world.size > 1)  # who has how many images is known after reading them
        how: dict[str, Any] = {
            "workers": workers,
            "on_error": data.on_error,
            "on_gpu": data.decode == "gpu" and split.path(0) is not None,
        }
        kept = cached(split, data.cache, shares.world.local_size)
        return StreamLoader(kept, plan, augment, finish, teacher=teacher, shares=shares, **how)
    plain = Augment.plain(data, augment.size, augment.short_side)
    loaded, skipped, rows = into_memory(split, plain, data, workers, shares.world)
    plan = replace(plan, count=len(loaded.labels))
    teacher = table_rows(teacher, torch.from_numpy(rows)) if skipped else teacher
    return MemoryLoader(loaded, plan, augment, finish, skipped, teacher, on_device=on_device, shares=shares)


def images_in_order(
    split: Split, data: DataSettings, finish: Finish, *, size: int, batch_size: int, workers: int
) -> Iterator[tuple[Labels, Images]]:
    """Each readable image of a split once, without augmentation: rows of the split, with images on the device."""
    for rows, images in bytes_in_order(split, data, size=size, batch_size=batch_size, workers=workers):
        yield rows, finish(images, torch.zeros(len(rows), dtype=torch.int64), None).images


def bytes_in_order(
    split: Split, data: DataSettings, *, size: int, batch_size: int, workers: int, short_side: int | None = None
) -> Iterator[tuple[Labels, UInt8[Tensor, "B 3 S S"]]]:
    """Each readable image of a split once, as it is validated on, in bytes on the host, with their rows of the split.

    With data.on_error=skip, broken files are left out.
    """
    workers = worker_count(workers)
    augment, plan = Augment.plain(data, size, short_side), StepPlan(len(split.labels), batch_size)
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
