"""Batches of a split, in an order keyed by (seed, epoch).

Two loaders give the same batches. ``MemoryLoader`` keeps small images on the device as bytes and prepares a whole
batch at a time there; ``StreamLoader`` decodes and prepares them one by one in worker processes, and the bytes travel
to the device. They become floats there.
"""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from bagoftricks.data.augment import Augment, Finish, Parts, send, send_together
from bagoftricks.data.cache import Made, cached, kept_whole
from bagoftricks.data.shares import UNSHARED, Shares
from bagoftricks.data.sources import CachedSplit, Dataset, FileSplit, KeptSplit, Labels, MemorySplit, Split
from bagoftricks.data.transforms import pick
from bagoftricks.data.workers import Bytes, Collected, Files, Sample, Samples, decoded, draws_of
from bagoftricks.distributed import ALONE, World
from bagoftricks.edits import Batch, Images, MapImages, SetFlip
from bagoftricks.errors import DataError, VanishedError
from bagoftricks.rng import Key
from bagoftricks.settings import SMALL, DataSettings

IN_MEMORY = 4 * 2**30  # bytes of small images that are kept decoded
Table = Float[Tensor, "N K"]  # a teacher's probabilities for each image of a split, on the device


@dataclass(frozen=True)
class Plan:
    """Which samples make up each step of an epoch. A pass is one shuffle of all the samples."""

    count: int
    batch_size: int
    key: Key | None = None  # None: in order, the last batch may be small
    reads: int = 1  # passes that go into each step

    def __len__(self) -> int:
        return -(-self.count // self.batch_size) if self.key is None else self.count // self.batch_size

    def steps(self, epoch: int, start: int = 0) -> Iterator[Parts]:
        """The rows of each step from ``start`` on, for each pass that goes into it."""
        orders: list[Labels] = [np.arange(self.count)]
        if self.key is not None:
            orders = [self.key.fold("order", epoch, p).numpy().permutation(self.count) for p in range(self.reads)]
        for step in range(start, len(self)):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            yield [(p, order[rows]) for p, order in enumerate(orders)]


class MemoryLoader:
    """Batches of small images in memory. ``images`` counts those of an epoch, ``skipped`` names broken files.

    The images lie on the device if they fit and ``on_device``; else on the host, where they are prepared too.
    """

    def __init__(
        self,
        split: MemorySplit,
        plan: Plan,
        augment: Augment,
        finish: Finish,
        skipped: list[str],
        teacher: Table | None = None,
        *,
        on_device: bool = True,
        shares: Shares = UNSHARED,
    ) -> None:
        self.plan, self.augment, self.finish, self.skipped, self.teacher = plan, augment, finish, skipped, teacher
        self.shares = shares
        self.images = plan.count if plan.key is None else len(plan) * plan.batch_size
        stays = augment.policy is None and on_device and fits(split.images, finish.device)
        self.place = finish.device if stays else torch.device("cpu")
        self.pixels = split.images.to(self.place).contiguous(memory_format=finish.memory_format)
        self.labels = torch.from_numpy(split.labels).to(self.place)

    def __len__(self) -> int:
        return len(self.plan)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return (batch for _, batch in self.numbered(epoch))

    def numbered(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The batches of an epoch from step ``start`` on, each with the number of its step."""
        for step, parts in self.shares.steps(enumerate(self.plan.steps(epoch, start), start)):
            mine = self.shares.mine(parts)
            which = torch.from_numpy(np.concatenate([rows for _, rows in mine]))[:, None]
            numbers = [which, self.augment.draws(epoch, mine), self.augment.shift(epoch, mine)]
            which, draws, shift = numbers if self.place.type == "cpu" else send_together(numbers, self.place)
            rows = which[:, 0]
            images = self.augment.batch(pick(self.pixels, rows), draws)
            if self.shares.whole:
                images, rows, shift = self._together(epoch, parts, images)
            yield step, self.finish(images, self.labels[rows], shift, rows_of(self.teacher, rows))

    def _together(self, epoch: int, parts: Parts, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The images of a whole batch, with their rows of the split and their colour noise."""
        places = self.shares.places(parts)
        images = self.shares.together(images, places, self.augment.views, self.finish.device)
        rows = torch.from_numpy(np.concatenate([rows for _, rows in parts])).to(self.place, non_blocking=True)
        return images, rows, self.augment.shift(epoch, parts)

    def sample(self, count: int) -> Images:
        """The first images of the split as the network sees them, without augmentation."""
        return self.finish(self.pixels[:count], self.labels[:count]).images


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the images take at most half of a GPU's free memory."""
    return device.type != "cuda" or images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2


@dataclass
class Requests:
    """The batch sampler of a StreamLoader: the samples of each step of the epoch it is set to."""

    plan: Plan
    shares: Shares = UNSHARED
    current: int = 0
    start: int = 0  # the first step that is asked for

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Sample]]:
        for parts in self.shares.steps(self.plan.steps(self.current, self.start)):
            yield samples_of(self.current, self.shares.mine(parts))


def samples_of(epoch: int, parts: Parts) -> list[Sample]:
    return [Sample(epoch, p, int(row)) for p, rows in parts for row in rows]


def prepare(
    split: Split, plan: Plan, augment: Augment, workers: int, *, pin_memory: bool = False, shares: Shares = UNSHARED
) -> "DataLoader[Collected]":
    """The prepared images of each step, made in worker processes."""
    return _in_workers(Samples(split, augment), plan, workers, shares, pin_memory=pin_memory)


def _in_workers(
    data: Samples | Bytes, plan: Plan, workers: int, shares: Shares, *, pin_memory: bool = False
) -> "DataLoader[Any]":
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_sampler=Requests(plan, shares),
        num_workers=workers,
        collate_fn=as_it_is,  # type: ignore[arg-type]
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context="fork"
        if workers and isinstance(data.split, CachedSplit)
        else None,  # shares its memory
        worker_init_fn=leave_stopping_to_the_run if workers else None,
    )


def leave_stopping_to_the_run(worker: int) -> None:
    """Terminals and schedulers signal all processes of a run: a worker goes on, so that the step can be finished.

    The run ends its workers itself, by a SIGTERM of its own.
    """
    for name in ("SIGINT", "SIGUSR2"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # tells who has sent a signal; macOS has no such call
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=end_with_the_run, args=(os.getppid(),), daemon=True).start()


def end_with_the_run(run: int) -> None:
    """End this process when process ``run`` asks it to."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
        continue
    os._exit(0)


def as_it_is(step: Collected | Files) -> Collected | Files:
    """A worker makes whole steps: nothing is left to collate."""
    return step


class StreamLoader:
    """Batches of images that are decoded and prepared in worker processes; the attributes of MemoryLoader."""

    def __init__(
        self,
        split: Split,
        plan: Plan,
        augment: Augment,
        finish: Finish,
        *,
        workers: int,
        on_error: str,
        teacher: Table | None = None,
        on_gpu: bool = False,
        shares: Shares = UNSHARED,
    ) -> None:
        self.split, self.plan, self.augment, self.finish, self.on_error = split, plan, augment, finish, on_error
        self.teacher, self.shares = teacher, shares
        self.images = plan.count if plan.key is None else len(plan) * plan.batch_size
        self.skipped: list[str] = []
        self.coloured_there = augment.policy is None and (on_gpu or finish.device.type != "cpu")
        data = Bytes(split) if on_gpu else Samples(split, augment.uncoloured() if self.coloured_there else augment)
        self.prepared = _in_workers(data, plan, workers, shares, pin_memory=finish.device.type == "cuda")

    def __len__(self) -> int:
        return len(self.plan)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return (batch for _, batch in self.numbered(epoch))

    def numbered(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The batches of an epoch from step ``start`` on, each with its number; a step without a readable image has
        none. What comes before is not read.
        """
        requests: Requests = self.prepared.batch_sampler  # type: ignore[assignment]
        requests.current, requests.start = epoch, start
        steps = self.shares.steps(enumerate(self.plan.steps(epoch, start), start))
        for read, (number, parts) in zip(self.prepared, steps, strict=True):
            step = decoded(read, self.augment, self.finish.device) if isinstance(read, Files) else read
            self._count_broken(step.broken)
            if self.shares.whole:
                step = self._together(epoch, parts, step)
            if step.images is None:
                continue
            images = send(step.images, self.finish.device)
            if self.coloured_there:
                images = self.augment.colours(images, draws_of(self.augment, step.samples))
            rows = np.array([s.index for s in step.samples])
            labels, teacher = torch.from_numpy(self.split.labels[rows]), rows_of(self.teacher, torch.from_numpy(rows))
            yield number, self.finish(images, labels, self._shift(epoch, step.samples), teacher)

    def _together(self, epoch: int, parts: Parts, step: Collected) -> Collected:
        """The readable images of a whole step."""
        asked, read = samples_of(epoch, self.shares.mine(parts)), set(step.samples)
        broken = [i for i, sample in enumerate(asked) if sample not in read]
        places, left = self.shares.places(parts), np.arange(sum(len(rows) for _, rows in parts))
        if self.on_error == "skip":
            places, left = self.shares.readable(places, broken)
        every = samples_of(epoch, parts)
        if not len(left):
            return Collected([], None)
        side = self.augment.size
        mine = torch.empty(0, 3, side, side, dtype=torch.uint8) if step.images is None else step.images
        images = self.shares.together(mine, places, self.augment.views, self.finish.device)
        return Collected([every[row] for row in left], images)

    def sample(self, count: int) -> Images:
        """The first readable images of the split as the network sees them, without augmentation."""
        plan = Plan(min(count, len(self.split.labels)), 256)
        plain = Augment(self.augment.size, None, scaled=self.augment.scaled)
        steps = prepare(self.split, plan, plain, self.prepared.num_workers)
        images = [step.images for step in steps if step.images is not None]
        labels = torch.zeros(sum(map(len, images)), dtype=torch.int64)
        return self.finish(torch.cat(images), labels).images

    def _shift(self, epoch: int, samples: list[Sample]) -> Tensor:
        passes = sorted({s.pass_ for s in samples})
        return self.augment.shift(epoch, [(p, np.array([s.index for s in samples if s.pass_ == p])) for p in passes])

    def _count_broken(self, broken: list[DataError]) -> None:
        for error in broken:
            if self.on_error == "fail" or isinstance(error, VanishedError):
                raise error
            if str(error) not in self.skipped:
                self.skipped.append(str(error))


Loader = MemoryLoader | StreamLoader


def rows_of(table: Table | None, rows: Tensor) -> Tensor | None:
    return None if table is None else table[rows.to(table.device, non_blocking=True)]


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
    plan = Plan(len(split.labels), batch_size, key, reads)
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
    augment, plan = Augment.plain(data, size, short_side), Plan(len(split.labels), batch_size)
    return _loader(split, plan, augment, finish, data, workers, dealt(world), on_device=on_device)


def dealt(world: World) -> Shares:
    return Shares(world, dealt=True)


def _loader(
    split: Split,
    plan: Plan,
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
    teacher = rows_of(teacher, torch.from_numpy(rows)) if skipped else teacher
    return MemoryLoader(loaded, plan, augment, finish, skipped, teacher, on_device=on_device, shares=shares)


def in_order(
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
    augment, plan = Augment.plain(data, size, short_side), Plan(len(split.labels), batch_size)
    if prepared_whole(augment, plan.count):
        loaded, _, kept = into_memory(split, augment, data, workers)
        for start in range(0, len(kept), batch_size):
            yield kept[start : start + batch_size], loaded.images[start : start + batch_size]
        return
    for step in prepare(split, plan, augment, workers):
        if step.broken and data.on_error == "fail":
            raise step.broken[0]
        if step.images is not None:
            yield np.array([sample.index for sample in step.samples]), step.images


def worker_count(workers: int, world: World = ALONE) -> int:
    """Processes that decode images for one rank."""
    return min((os.cpu_count() or 1) // world.local_size, 8) if workers < 0 else workers


def prepared_whole(augment: Augment, count: int) -> bool:
    """Whether ``count`` images are small enough for memory and prepared a batch at a time."""
    return augment.size <= SMALL and 3 * augment.size**2 * count <= IN_MEMORY and augment.crop != "area"


def keep_decoded(data: Dataset) -> Dataset:
    """The data set with a memory of its decoded images where they fit, for several runs in one process."""
    return replace(data, train=KeptSplit(data.train), val=KeptSplit(data.val))


def into_memory(split: Split, augment: Augment, data: DataSettings, workers: int, world: World = ALONE) -> Made:
    """All readable images of a split as ``augment`` prepares them, what was wrong with the others, and the rows left.

    They are always made from the images as they were found, never from those of another size. Rank 0 makes all ranks'.
    """
    if world.size > 1 and not isinstance(split, MemorySplit):
        return world.share(lambda: into_memory(split, augment, data, workers * world.local_size))
    if isinstance(split, KeptSplit):
        if split.made is None or split.how != (augment, data.on_error):
            split.how, split.made = (augment, data.on_error), None
            split.made = into_memory(split.split, augment, data, workers)
        return split.made
    if isinstance(split, FileSplit) and data.cache != "none":
        return kept_whole(split, (augment, data.on_error), lambda: _into_memory(split, augment, data.on_error, workers))
    return _into_memory(split, augment, data.on_error, workers)


def _into_memory(split: Split, augment: Augment, on_error: str, workers: int) -> Made:
    size = augment.size
    if isinstance(split, MemorySplit) and split.images.shape[2:] == (size, size) and augment.short_side in (None, size):
        return split, [], np.arange(len(split.labels))
    steps = list(prepare(split, Plan(len(split.labels), 512), augment, workers))
    broken = [error for step in steps for error in step.broken]
    gone = [error for error in broken if isinstance(error, VanishedError)]
    if broken and (gone or on_error == "fail" or len(broken) == len(split.labels)):
        raise (gone or broken)[0]
    rows = np.array([sample.index for step in steps for sample in step.samples])
    images = torch.cat([step.images for step in steps if step.images is not None])
    images = images.contiguous(memory_format=torch.channels_last)
    return MemorySplit(images, split.labels[rows]), [str(error) for error in broken], rows
