"""Ranks of a run as one of them sees them: its rows of a batch, and its collectives.

Row i of a batch, or of a micro-batch, belongs to rank i mod size. Interleaved groups of images thus stay whole, and
shares of batches that do not divide by the number of ranks differ by one image at most.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bagoftricks.errors import UserError

T = TypeVar("T")
RowIndices = npt.NDArray[np.int64]


class World:
    """World of a run in one process: ``ALONE``. ``MultiProcessWorld`` does the same for several processes."""

    rank = 0
    size = 1
    local_size = 1  # ranks on this machine
    stop_asked = False  # by the process that started the ranks

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self  # a copy of a network communicates with the same ranks

    @property
    def leads(self) -> bool:
        """Return True on the rank that writes and prints."""
        return self.rank == 0

    # --- shares of a batch ---

    def rows(self, count: int, micro: int | None = None, rank: int | None = None) -> RowIndices:
        """Return this rank's rows, or ``rank``'s, of a batch of ``count`` in micro-batches of ``micro``."""
        size = micro or count
        mine = self.rank if rank is None else rank
        parts = [np.arange(start + mine, min(start + size, count), self.size) for start in range(0, count, size)]
        return np.concatenate(parts) if parts else np.arange(0)

    def parts(self, count: int, micro: int | None = None) -> list[tuple[int, slice]]:
        """Return for each micro-batch its images on all ranks, and the slice of this rank's ``rows``."""
        found, done = [], 0
        for start in range(0, count, micro or count):
            images = min(micro or count, count - start)
            here = len(range(self.rank, images, self.size))
            found.append((images, slice(done, done + here)))
            done += here
        return found

    def check_batch(self, count: int, micro: int | None = None) -> None:
        """Raise UserError if a rank would have no image of the batch."""
        size = micro or count
        smallest = min(size, count % size or size)
        if smallest < self.size:
            what = f"batch_size={count}" + (f" in micro-batches of {micro}" if micro and micro < count else "")
            raise UserError(
                f"runtime.devices={self.size}: {what} leaves a device without images ({smallest} at a time); "
                f"type runtime.devices={smallest} or less, or another batch"
            )

    # --- collectives, trivial in one process ---

    def broadcast_object(self, make: Callable[[], T]) -> T:
        """Return the value of ``make`` on rank 0, the only rank that calls it."""
        return make()

    def all_gather_object(self, value: T) -> list[T]:
        """Return the values of all ranks, on every rank."""
        return [value]

    def agree(self, what: str, value: object) -> None:
        """Raise UserError if the ranks differ in ``what``."""

    def stops(self, wanted: bool) -> bool:
        """Return True if all ranks stop at this boundary between steps: some rank wanted to at the one before."""
        return wanted

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum ``tensor`` over the ranks in place; return it."""
        return tensor

    def all_reduce_async(self, tensor: Tensor) -> Any:
        """Begin to sum ``tensor`` over the ranks in place; return a handle for ``wait``."""

    def wait(self, work: Any) -> None:
        """Wait for the end of ``all_reduce_async``."""

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Return (ranks ...), the tensors of all ranks, which have one shape."""
        return tensor[None]

    def whole(self, mine: Tensor, rows: Sequence[RowIndices]) -> Tensor:
        """Return a batch from the ranks' parts; ``mine`` are its rows ``rows[rank]``."""
        return mine

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""

    def on_peer_lost(self, act: Callable[[BaseException], object]) -> None:
        """Call ``act`` on rank 0 before it is ended because it waits for a lost rank."""

    def shutdown(self, error: BaseException | None = None) -> None:
        """Notify the other ranks that this one has ended, with its error if it failed."""


ALONE = World()


def mean(world: World, tensors: list[Tensor]) -> None:
    """Replace tensors of one type by their means over the ranks, in one message."""
    if world.size == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    parts = world.all_reduce(flat).div_(world.size).split_with_sizes([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])
