"""Worker processes of a loader: the memory through which their images come, and what is known of one that died."""

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Protocol
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from bagoftricks.data.image_file import ImageFile
from bagoftricks.errors import printable

SHARED_MEMORY = "/dev/shm"
QUEUES = 2**20  # bytes of it that the queues of a loader's workers may take
AHEAD = 2  # steps that a worker makes in advance


class SharedSteps:
    """Shared memory that a worker makes its steps in, in turn: new memory costs a fault for each page of it.

    A loader asks a worker for a step when it hands over the one that the worker made two before it. So by the time that
    a piece of memory comes round again, whoever read it has gone on: a step must not be kept.
    """

    def __init__(self) -> None:
        self.pieces: list[Tensor] = []
        self.made = 0

    def stack(self, images: Sequence[Tensor]) -> Tensor:
        """Stack bytes of equal shapes."""
        size, turn = len(images) * images[0].numel(), self.made % (AHEAD + 1)
        if turn == len(self.pieces) or self.pieces[turn].numel() < size:
            self.pieces[turn : turn + 1] = [torch.empty(size, dtype=torch.uint8).share_memory_()]  # type: ignore[no-untyped-call]
        self.made += 1
        return torch.stack(list(images), out=self.pieces[turn][:size].view(len(images), *images[0].shape))


class Filed(Protocol):
    """A split that knows its files."""

    def file(self, index: int) -> ImageFile | None: ...


class LastImages:
    """The image that each worker process is at, in memory that forked workers share with the run."""

    def __init__(self, split: Filed, workers: int) -> None:
        self.split = split
        self.rows = np.frombuffer(mmap.mmap(-1, 16 * max(workers, 1)), np.int64).reshape(-1, 2)
        _loaders.add(self)

    def note(self, index: int) -> None:
        """Write down the image that this process begins with."""
        if (worker := get_worker_info()) is not None:
            self.rows[worker.id] = os.getpid(), index

    def file_of(self, process: int) -> ImageFile | None:
        """Return the file that a process was at."""
        found = self.rows[self.rows[:, 0] == process, 1]
        return self.split.file(int(found[0])) if len(found) else None


_loaders: WeakSet[LastImages] = WeakSet()


def is_dead_worker(error: BaseException) -> bool:
    """Return True if a process that prepares images died: PyTorch says so from a signal handler, at any line."""
    return any(isinstance(each, RuntimeError) and "DataLoader worker" in str(each) for each in _chain(error))


def describe_death(error: BaseException) -> str:
    """Return how a process that prepares images died, and at which file."""
    text = " ".join(map(str, _chain(error)))  # one of them tells the signal
    signal = re.search(r"killed by signal: ([^.]+)", text)
    died = f"a process that prepares images died ({signal[1] if signal else 'killed, or out of memory?'})"
    processes = [int(number) for number in re.findall(r"\d+", text)]
    files = [file for last in _loaders for process in processes if (file := last.file_of(process)) is not None]
    return died + (f" while it read {printable(files[0].path)}" if files else "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that were on their way when it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def fits_shared_memory(workers: int, pixels: int) -> bool:
    """Return True if there is room for the steps, of ``pixels`` each, that the workers make in advance."""
    free = free_shared_memory()
    return free is None or needed_bytes(workers, pixels) <= free


def needed_bytes(workers: int, pixels: int) -> int:
    """Return the shared memory of steps of ``pixels``: of each worker one that is used, and those made in advance."""
    return QUEUES + (AHEAD + 1) * workers * 3 * pixels


def free_shared_memory() -> int | None:
    """Return its free bytes, None where the system keeps it elsewhere."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):  # Windows has no such call
        return None
    return status.f_bavail * status.f_frsize


def shared_memory_note(workers: int, pixels: int) -> str | None:
    """Return a line about shared memory that is too small for the workers' images, if it is."""
    if not workers or fits_shared_memory(workers, pixels):
        return None
    free, needed = free_shared_memory() or 0, needed_bytes(workers, pixels)
    how = "images are sent through pipes, which is slower" if free >= QUEUES else "images are read by the run itself"
    return (
        f"shared memory is small ({SHARED_MEMORY} has {free / 2**20:.1f} MiB free, {workers} workers may need "
        f"{needed / 2**20:.0f}): {how}. Enlarge it (docker run --shm-size=2g), or type runtime.workers=0"
    )


def send_through_pipes() -> None:
    """Send this process's tensors by value from now on, not in shared memory."""
    ForkingPickler.register(Tensor, lambda tensor: (torch.from_numpy, (tensor.numpy(),)))
