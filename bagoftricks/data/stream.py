"""Batches of images of any size, decoded and prepared one by one in worker processes; the bytes travel to the device.

They become floats there.
"""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bagoftricks.children import program_hidden
from bagoftricks.cores import usable_cores
from bagoftricks.data.augment import Augment, PassRows
from bagoftricks.data.decode import load_decoder
from bagoftricks.data.handover import (
    QUEUES,
    LastImages,
    SharedSteps,
    fits_shared_memory,
    free_shared_memory,
    send_through_pipes,
)
from bagoftricks.data.image_file import skipped_line
from bagoftricks.data.plan import StepPlan, table_rows
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.shares import UNSHARED, Shares
from bagoftricks.data.sources import CachedSplit, Labels, Split, source_of
from bagoftricks.data.workers import Collected, Files, Sample, Samples, SharedBytes, decoded, draws_of
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import DataError, VanishedError
from bagoftricks.recipe.edits import Batch, Images
from bagoftricks.rng import send

FIRST_IMAGE = Sample(epoch=0, pass_=0, index=0, count=1)


@dataclass
class Requests:
    """The batch sampler of a StreamLoader: the samples of each step of the epoch it is set to."""

    plan: StepPlan
    shares: Shares = UNSHARED
    current: int = 0
    start: int = 0  # the first step that is asked for

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[Sample]]:
        for parts in self.shares.steps(self.plan.steps(self.current, self.start)):
            yield samples_of(self.current, self.shares.mine(parts), self.plan.count)


def samples_of(epoch: int, parts: PassRows, count: int) -> list[Sample]:
    """Return the samples of a step of an epoch, of a split of ``count`` images."""
    return [Sample(epoch, p, int(row) % count, int(row) // count, count) for p, rows in parts for row in rows]


def prepare_batches(
    split: Split, plan: StepPlan, augment: Augment, workers: int, *, kept: SharedSteps | None = None
) -> "DataLoader[Collected]":
    """Return the prepared images of each step, made in worker processes; with ``kept``, the next step may end one."""
    pixels = augment.views * plan.reads * plan.batch_size * augment.size**2
    return in_workers(Samples(split, augment, kept=kept), Requests(plan), workers, pixels)


def ask_once(data: Any, first: Any) -> None:
    """Ask ``data`` for its first image in this process, before workers are forked that call the same functions.

    Torch registers with the C library what the first call of a function has made. A process that is forked while
    another thread registers something finds that list locked, and its own first call waits for ever (seen with glibc
    2.36).
    """
    if len(data.split.labels):
        data.__getitems__([first])


class WorkerLoader(DataLoader[Any]):
    """DataLoader whose workers do not run the caller's program."""

    def __iter__(self) -> Any:
        with program_hidden():
            return super().__iter__()


def in_workers(
    data: Any, sampler: Iterable[Any], workers: int, pixels: int, *, pin_memory: bool = False, first: Any = FIRST_IMAGE
) -> "DataLoader[Any]":
    """Return a loader of the steps that ``data`` makes of what ``sampler`` asks for, of at most ``pixels`` each.

    ``first`` asks for the first image. Where shared memory has no room for them, workers send images through pipes;
    there are none where it has next to none.
    """
    shared = fits_shared_memory(workers, pixels)
    workers = 0 if not shared and (free_shared_memory() or 0) < QUEUES else workers
    forked = workers and isinstance(data.split, CachedSplit)  # forked processes share its memory
    if workers:
        load_decoder()
        ask_once(data, first)
    return WorkerLoader(
        replace(data, last=LastImages(data.split, workers) if workers else None, shared=shared),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=as_it_is,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if forked else None,
        worker_init_fn=partial(begin_worker, shared) if workers else None,
        generator=torch.Generator(),  # or the workers' seeds, which nothing reads, would move everybody's draws
    )


def begin_worker(shared: bool, worker: int) -> None:
    """Leave stopping to the run, and send images through pipes where memory is not ``shared``.

    Terminals and schedulers signal all processes of a run: a worker goes on, so that the step can be finished. The run
    ends its workers itself, by a SIGTERM of its own.
    """
    if not shared:
        send_through_pipes()
    for name in ("SIGINT", "SIGUSR2", "SIGHUP"):
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


def as_it_is(step: Any) -> Any:
    """Return the step: a worker makes whole ones, and nothing is left to collate."""
    return step


class StreamLoader:
    """Batches of images that are decoded and prepared in worker processes; the attributes of MemoryLoader."""

    def __init__(self, split: Split, preparation: Preparation, reading: Reading) -> None:
        self.split, self.on_error, self.shares = split, reading.on_error, reading.shares
        self.plan, self.augment, self.finish = preparation.plan, preparation.augment, preparation.finish
        self.teacher = preparation.teacher
        self.targets = source_of(split).targets
        self.images = self.plan.count if self.plan.key is None else len(self.plan) * self.plan.batch_size
        self.skipped: list[str] = []
        self.unreadable: set[int] = set()
        device = self.finish.device
        self.coloured_there = self.augment.policy is None and (reading.on_gpu or device.type != "cpu")
        here = self.augment.uncoloured() if self.coloured_there else self.augment
        data = SharedBytes(split) if reading.on_gpu else Samples(split, here, kept=SharedSteps())
        pin_memory = device.type == "cuda"
        images = self.augment.views * self.plan.reads * self.plan.batch_size
        requests = Requests(self.plan, self.shares)
        self.prepared = in_workers(
            data, requests, reading.workers, images * self.augment.size**2, pin_memory=pin_memory
        )

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def rows(self) -> Labels:
        """Rows of the split that could be read, as far as they were."""
        return np.setdiff1d(np.arange(self.plan.count), list(self.unreadable))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        return (batch for _, batch in self.numbered(epoch))

    def numbered(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of an epoch from step ``start`` on, each with its number.

        A step without a readable image has none. Earlier steps are not read.
        """
        requests: Requests = self.prepared.batch_sampler  # type: ignore[assignment]
        requests.current, requests.start = epoch, start
        steps = self.shares.steps(enumerate(self.plan.steps(epoch, start), start))
        for read, (number, parts) in zip(self.prepared, steps, strict=True):
            step = decoded(read, self.augment, self.finish.device) if isinstance(read, Files) else read
            if step.broken:
                self._count_broken(step.broken)
                asked = samples_of(epoch, self.shares.mine(parts), self.plan.count)
                self.unreadable |= {s.index for s in asked} - {s.index for s in step.samples}
            if self.shares.whole:
                step = self._together(epoch, parts, step)
            if step.images is None:
                continue
            images = send(step.images, self.finish.device)
            draws = draws_of(self.augment, step.samples)
            if self.coloured_there:
                images = self.augment.colours(images, draws)
            rows = np.array([s.index for s in step.samples])
            targets = self.augment.targets(torch.from_numpy(self.targets[rows]), draws)
            teacher = table_rows(self.teacher, torch.from_numpy(rows))
            yield number, self.finish(images, targets, self._shift(epoch, step.samples), teacher)

    def _together(self, epoch: int, parts: PassRows, step: Collected) -> Collected:
        """Return the readable images of a whole step."""
        asked, read = samples_of(epoch, self.shares.mine(parts), self.plan.count), set(step.samples)
        broken = [i for i, sample in enumerate(asked) if sample not in read]
        places, left = self.shares.places(parts), np.arange(sum(len(rows) for _, rows in parts))
        if self.on_error == "skip":
            places, left = self.shares.readable(places, broken)
        every = samples_of(epoch, parts, self.plan.count)
        if not len(left):
            return Collected([], None)
        side = self.augment.size
        channels = 3 if getattr(source_of(self.split), "masks", None) is None else 4
        mine = torch.empty(0, channels, side, side, dtype=torch.uint8) if step.images is None else step.images
        images = self.shares.together(mine, places, self.augment.views, self.finish.device)
        return Collected([every[row] for row in left], images)

    def sample(self, count: int) -> Images:
        """Return the first readable images of the split as the network sees them, without augmentation."""
        plan = StepPlan(min(count, len(self.split.labels)), 256)
        steps = prepare_batches(self.split, plan, self.augment.without_draws(), self.prepared.num_workers)
        images = [step.images for step in steps if step.images is not None]
        labels = torch.zeros(sum(map(len, images)), dtype=torch.int64)
        return self.finish(torch.cat(images), labels).images

    def _shift(self, epoch: int, samples: list[Sample]) -> Tensor:
        passes = sorted({s.pass_ for s in samples})
        return self.augment.shift(epoch, [(p, np.array([s.number for s in samples if s.pass_ == p])) for p in passes])

    def _count_broken(self, broken: list[DataError]) -> None:
        for error in broken:
            if self.on_error == "fail" or isinstance(error, VanishedError):
                raise error
            if (line := skipped_line(error)) not in self.skipped:
                self.skipped.append(line)


def worker_count(workers: int, world: World = ALONE) -> int:
    """Processes that decode images for one rank."""
    return min(usable_cores() // world.local_size, 8) if workers < 0 else workers
