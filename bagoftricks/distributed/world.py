"""The ranks of a run, as one of them sees them: which rows of a batch it has, and what it says to the others.

Row i of a batch, or of a micro-batch, belongs to rank i mod size. So interleaved groups of images stay whole, and
batches that do not divide by the number of ranks give shares that differ by one image at most.
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
    """A run in one process. ``Ranks`` does the same for several; ``ALONE`` is the only other instance."""

    rank = 0
    size = 1
    local_size = 1  # ranks on this machine
    stop_asked = False  # by whoever has started the ranks

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self  # a copy of a network speaks to the same ranks

    @property
    def leads(self) -> bool:
        """Whether this rank writes and prints."""
        return self.rank == 0

    # --- shares of a batch ---

    def rows(self, count: int, micro: int | None = None, rank: int | None = None) -> RowIndices:
        """The rows of a batch of ``count`` that a rank (this one) has, a micro-batch of ``micro`` after the other."""
        size = micro or count
        mine = self.rank if rank is None else rank
        parts = [np.arange(start + mine, min(start + size, count), self.size) for start in range(0, count, size)]
        return np.concatenate(parts) if parts else np.arange(0)

    def parts(self, count: int, micro: int | None = None) -> list[tuple[int, slice]]:
        """For each micro-batch: its images on all ranks, and where this rank's are among its ``rows``."""
        found, done = [], 0
        for start in range(0, count, micro or count):
            images = min(micro or count, count - start)
            here = len(range(self.rank, images, self.size))
            found.append((images, slice(done, done + here)))
            done += here
        return found

    def check_batch(self, count: int, micro: int | None = None) -> None:
        """Refuse a batch in which a rank would have no image."""
        size = micro or count
        smallest = min(size, count % size or size)
        if smallest < self.size:
            what = f"batch_size={count}" + (f" in micro-batches of {micro}" if micro and micro < count else "")
            raise UserError(
                f"runtime.devices={self.size}: {what} leaves a device without images ({smallest} at a time); "
                f"type runtime.devices={smallest} or less, or another batch"
            )

    # --- what the ranks tell each other: nothing here ---

    def broadcast_object(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on rank 0, which alone calls it."""
        return make()

    def all_gather_object(self, value: T) -> list[T]:
        """The values of all ranks, on every rank."""
        return [value]

    def agree(self, what: str, value: object) -> None:
        """Raise UserError where the ranks differ in ``what``."""

    def stops(self, wanted: bool) -> bool:
        """Whether all ranks stop here, at this boundary between steps: some rank wanted it by the boundary before."""
        return wanted

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over the ranks, in place."""
        return tensor

    def all_reduce_async(self, tensor: Tensor) -> Any:
        """Begin to sum ``tensor`` over the ranks, in place; ``wait`` takes what is returned."""

    def wait(self, work: Any) -> None:
        """Wait for the end of ``all_reduce_async``."""

    def all_gather(self, tensor: Tensor) -> Tensor:
        """(ranks ...): the tensors of all ranks, which have one shape."""
        return tensor[None]

    def whole(self, mine: Tensor, rows: Sequence[RowIndices]) -> Tensor:
        """A batch from the parts that the ranks have: ``mine`` are its rows ``rows[rank]``."""
        return mine

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""

    def on_peer_lost(self, say: Callable[[BaseException], object]) -> None:
        """What rank 0 does before it is ended because another rank is gone and it waits for it."""

    def shutdown(self, error: BaseException | None = None) -> None:
        """Tell the others that this rank is through, or what it failed of."""


ALONE = World()


def mean(world: World, tensors: list[Tensor]) -> None:
    """Replace tensors of one type by their means over the ranks, in one message."""
    if world.size == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    parts = world.all_reduce(flat).div_(world.size).split_with_sizes([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])
