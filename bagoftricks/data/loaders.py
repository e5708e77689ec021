"""Batches of a split, in an order keyed by (seed, epoch).

Two loaders give the same batches. ``MemoryLoader`` keeps small images on the device as bytes and prepares a whole
batch at a time there; ``StreamLoader`` decodes and prepares them one by one in worker processes, and the bytes travel
to the device. They become floats there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from bagoftricks.data.augment import SMALL, Augment, Finish, Parts, send_together
from bagoftricks.data.sources import Dataset, KeptSplit, Labels, MemorySplit, Split
from bagoftricks.data.transforms import pick
from bagoftricks.edits import Batch, Images, MapImages
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

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
    ) -> None:
        self.plan, self.augment, self.finish, self.skipped, self.teacher = plan, augment, finish, skipped, teacher
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
        for step, parts in enumerate(self.plan.steps(epoch, start), start):
            which = torch.from_numpy(np.concatenate([rows for _, rows in parts]))[:, None]
            numbers = [which, self.augment.draws(epoch, parts), self.augment.shift(epoch, parts)]
            which, draws, shift = numbers if self.place.type == "cpu" else send_together(numbers, self.place)
            rows = which[:, 0]
            images = self.augment.batch(pick(self.pixels, rows), draws)
            yield step, self.finish(images, self.labels[rows], shift, rows_of(self.teacher, rows))

    def sample(self, count: int) -> Images:
        """The first images of the split as the network sees them, without augmentation."""
        return self.finish(self.pixels[:count], self.labels[:count]).images


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether the images take at most half of a GPU's free memory."""
    return device.type != "cuda" or images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2


@dataclass(frozen=True)
class Sample:
    """One image to prepare: what a worker is asked for."""

    epoch: int
    pass_: int
    index: int


@dataclass(frozen=True)
class Samples:
    """A map from a request to a prepared image's views, for worker processes; a broken file is returned, not raised."""

    split: Split
    augment: Augment

    def __getitem__(self, s: Sample) -> tuple[Sample, UInt8[Tensor, "V 3 S S"] | DataError]:
        try:
            return s, self.augment.one(self.split.image(s.index), s.epoch, s.pass_, s.index)
        except DataError as error:
            return s, error


@dataclass
class Requests:
    """The batch sampler of a StreamLoader: the samples of each step of the epoch it is set to."""

    plan: Plan
    current: int = 0
    start: int = 0  # the first step that is asked for

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Sample]]:
        for parts in self.plan.steps(self.current, self.start):
            yield [Sample(self.current, p, int(row)) for p, rows in parts for row in rows]


@dataclass
class Collected:
    """A step's readable images with their samples, and the broken files."""

    samples: list[Sample]
    images: UInt8[Tensor, "VB 3 S S"] | None
    broken: list[DataError] = field(default_factory=list)

    def pin_memory(self) -> "Collected":
        return Collected(self.samples, None if self.images is None else self.images.pin_memory(), self.broken)


def collate(items: list[tuple[Sample, Tensor | DataError]]) -> Collected:
    good = [(sample, image) for sample, image in items if isinstance(image, Tensor)]
    images = torch.stack([views for _, views in good], 1).flatten(0, 1) if good else None
    return Collected([s for s, _ in good], images, [error for _, error in items if isinstance(error, DataError)])


def prepare(
    split: Split, plan: Plan, augment: Augment, workers: int, *, pin_memory: bool = False
) -> "DataLoader[Collected]":
    """The prepared images of each step, made in worker processes."""
    return DataLoader(
        Samples(split, augment),  # type: ignore[arg-type]
        batch_sampler=Requests(plan),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )


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
    ) -> None:
        self.split, self.plan, self.augment, self.finish, self.on_error = split, plan, augment, finish, on_error
        self.teacher = teacher
        self.images = plan.count if plan.key is None else len(plan) * plan.batch_size
        self.skipped: list[str] = []
        self.prepared = prepare(split, plan, augment, workers, pin_memory=finish.device.type == "cuda")

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
        for number, step in enumerate(self.prepared, start):
            self._count_broken(step.broken)
            if step.images is None:
                continue
            rows = np.array([s.index for s in step.samples])
            labels, teacher = torch.from_numpy(self.split.labels[rows]), rows_of(self.teacher, torch.from_numpy(rows))
            yield number, self.finish(step.images, labels, self._shift(epoch, step.samples), teacher)

    def sample(self, count: int) -> Images:
        """The first readable images of the split as the network sees them, without augmentation."""
        plan = Plan(min(count, len(self.split.labels)), 256)
        steps = prepare(self.split, plan, Augment(self.augment.size, None), self.prepared.num_workers)
        images = [step.images for step in steps if step.images is not None]
        labels = torch.zeros(sum(map(len, images)), dtype=torch.int64)
        return self.finish(torch.cat(images), labels).images

    def _shift(self, epoch: int, samples: list[Sample]) -> Tensor:
        passes = sorted({s.pass_ for s in samples})
        return self.augment.shift(epoch, [(p, np.array([s.index for s in samples if s.pass_ == p])) for p in passes])

    def _count_broken(self, broken: list[DataError]) -> None:
        for error in broken:
            if self.on_error == "fail":
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
    teacher: Table | None = None,
    on_device: bool = True,
) -> Loader:
    """Shuffled, augmented batches of ``reads * batch_size`` images; the last incomplete one is left out.

    Row i of ``teacher`` goes with image i of the split, wherever the batch has it.
    """
    augment = Augment.from_settings(data, size, key, policy)
    plan = Plan(len(split.labels), batch_size, key, reads)
    return _loader(split, plan, augment, finish, data, workers, teacher=teacher, on_device=on_device)


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
) -> Loader:
    """Every image exactly once, in order, nothing random."""
    augment = Augment(size, None, short_side=short_side)
    return _loader(split, Plan(len(split.labels), batch_size), augment, finish, data, workers, on_device=on_device)


def _loader(
    split: Split,
    plan: Plan,
    augment: Augment,
    finish: Finish,
    data: DataSettings,
    workers: int,
    *,
    teacher: Table | None = None,
    on_device: bool,
) -> Loader:
    workers = worker_count(workers)
    if not prepared_whole(augment, plan.count):
        return StreamLoader(split, plan, augment, finish, workers=workers, on_error=data.on_error, teacher=teacher)
    plain = Augment(augment.size, None, short_side=augment.short_side)
    loaded, skipped, kept = into_memory(split, plain, data.on_error, workers)
    plan = replace(plan, count=len(loaded.labels))
    teacher = rows_of(teacher, torch.from_numpy(kept)) if skipped else teacher
    return MemoryLoader(loaded, plan, augment, finish, skipped, teacher, on_device=on_device)


def in_order(
    split: Split, data: DataSettings, finish: Finish, *, size: int, batch_size: int, workers: int
) -> Iterator[tuple[Labels, Images]]:
    """Each readable image of a split once, without augmentation: rows of the split, with images on the device."""
    for rows, images in _bytes_in_order(split, data, size, batch_size, worker_count(workers)):
        yield rows, finish(images, torch.zeros(len(rows), dtype=torch.int64), None).images


def _bytes_in_order(
    split: Split, data: DataSettings, size: int, batch_size: int, workers: int
) -> Iterator[tuple[Labels, Tensor]]:
    augment, plan = Augment(size, None), Plan(len(split.labels), batch_size)
    if prepared_whole(augment, plan.count):
        loaded, _, kept = into_memory(split, augment, data.on_error, workers)
        for start in range(0, len(kept), batch_size):
            yield kept[start : start + batch_size], loaded.images[start : start + batch_size]
        return
    for step in prepare(split, plan, augment, workers):
        if step.broken and data.on_error == "fail":
            raise step.broken[0]
        if step.images is not None:
            yield np.array([sample.index for sample in step.samples]), step.images


def worker_count(workers: int) -> int:
    return min(os.cpu_count() or 1, 8) if workers < 0 else workers


def prepared_whole(augment: Augment, count: int) -> bool:
    """Whether ``count`` images are small enough for memory and prepared a batch at a time."""
    return augment.size <= SMALL and 3 * augment.size**2 * count <= IN_MEMORY and augment.crop != "area"


def keep_decoded(data: Dataset) -> Dataset:
    """The data set with a memory of its decoded images where they fit, for several runs in one process."""
    return replace(data, train=KeptSplit(data.train), val=KeptSplit(data.val))


def into_memory(split: Split, augment: Augment, on_error: str, workers: int) -> tuple[MemorySplit, list[str], Labels]:
    """All readable images of a split as ``augment`` prepares them, what was wrong with the others, and the rows left.

    They are always made from the images as they were found, never from those of another size.
    """
    if isinstance(split, KeptSplit):
        if split.made is None or split.how != (augment, on_error):
            split.how, split.made = (augment, on_error), None
            split.made = into_memory(split.split, augment, on_error, workers)
        return split.made
    size = augment.size
    if isinstance(split, MemorySplit) and split.images.shape[2:] == (size, size) and augment.short_side in (None, size):
        return split, [], np.arange(len(split.labels))
    steps = list(prepare(split, Plan(len(split.labels), 512), augment, workers))
    broken = [error for step in steps for error in step.broken]
    if broken and (on_error == "fail" or len(broken) == len(split.labels)):
        raise broken[0]
    rows = np.array([sample.index for step in steps for sample in step.samples])
    images = torch.cat([step.images for step in steps if step.images is not None])
    images = images.contiguous(memory_format=torch.channels_last)
    return MemorySplit(images, split.labels[rows]), [str(error) for error in broken], rows
