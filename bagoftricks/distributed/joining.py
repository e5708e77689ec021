"""Find out that a process is one of several ranks, and join the others."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bagoftricks.distributed.links import Link, open_link
from bagoftricks.distributed.world import ALONE, RowIndices, World
from bagoftricks.errors import UserError
from bagoftricks.started import ranks_started

T = TypeVar("T")
P = ParamSpec("P")
PATIENCE = timedelta(days=1)  # longest wait for a rank that is at work; the death of a rank is noticed at once


def requested_ranks(devices: int) -> int:
    """Return the number of ranks for ``runtime.devices=devices``; raise UserError if other ranks were started."""
    started = ranks_started()
    if started and devices not in (1, -1, started):
        raise UserError(f"runtime.devices={devices}: {started} ranks were started from outside; leave it out")
    return started or (max(1, torch.cuda.device_count()) if devices == -1 else devices)


def join(device: torch.device) -> World:
    """Join the ranks that were started together; return ``ALONE`` if there is only one.

    Ranks on CPUs communicate through gloo. On GPUs, tensors go through NCCL; everything else goes through gloo, so that
    nothing waits for the device.
    """
    if ranks_started() <= 1:
        return ALONE
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return MultiProcessWorld(device)


@contextmanager
def in_ranks(world: World) -> Iterator[None]:
    """Notify the other ranks when the block ends, with its error if it raises."""
    try:
        yield
    except BaseException as error:
        world.shutdown(error)
        raise
    world.shutdown()


def blaming(method: Callable[P, T]) -> Callable[P, T]:
    """Wrap a collective so that a failure raises the peer's error instead of the socket's."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except RuntimeError as error:
            raise args[0].link.reason() from error  # type: ignore[attr-defined]

    return guarded


class MultiProcessWorld(World):
    """World of several processes, this one among them."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self.control: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.boundary: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.pending: tuple[Any, Tensor] | None = None  # the vote of the last boundary between steps
        self.link: Link = open_link(self.rank, self.size, os.environ["MASTER_ADDR"], self._from_leader)

    @blaming
    def _from_leader(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def broadcast_object(self, make: Callable[[], T]) -> T:
        value: T = self._from_leader(make() if self.leads else None)
        return value

    @blaming
    def all_gather_object(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def agree(self, what: str, value: object) -> None:
        values = self.all_gather_object(value)
        if any(other != values[0] for other in values):
            found = ", ".join(map(str, dict.fromkeys(values)))
            raise UserError(f"the ranks differ in {what}: {found}; start all ranks with one command")

    @blaming
    def stops(self, wanted: bool) -> bool:
        decided = False
        if self.pending is not None:
            work, vote = self.pending
            work.wait()
            decided = bool(vote.item())
        vote = torch.tensor([float(wanted)])
        self.pending = None if decided else (dist.all_reduce(vote, group=self.boundary, async_op=True), vote)
        return decided

    @blaming
    def all_reduce(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor

    @blaming
    def all_reduce_async(self, tensor: Tensor) -> Any:
        """Begin to sum ``tensor`` in place; return a handle with ``wait()``."""
        return dist.all_reduce(tensor, async_op=True)

    @blaming
    def wait(self, work: Any) -> None:
        work.wait()

    @blaming
    def all_gather(self, tensor: Tensor) -> Tensor:
        every = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(every, tensor.contiguous())
        return torch.stack(every)

    def whole(self, mine: Tensor, rows: Sequence[RowIndices]) -> Tensor:
        longest, total = max(map(len, rows)), sum(map(len, rows))
        mine = mine.contiguous()
        padded = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
        made = self.all_gather(padded)
        made = made.flatten(0, 1)
        order = np.empty(total, np.int64)
        for rank, own in enumerate(rows):
            order[own] = rank * longest + np.arange(len(own))
        return made.index_select(0, torch.from_numpy(order).to(made.device, non_blocking=True))

    @blaming
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, src=0)
            if not self.leads:
                tensor.detach().copy_(sent)

    def on_peer_lost(self, act: Callable[[BaseException], object]) -> None:
        earlier = self.link.on_peer_lost

        def both(error: BaseException) -> None:
            act(error)
            earlier(error)

        self.link.on_peer_lost = both

    def shutdown(self, error: BaseException | None = None) -> None:
        if self.pending is not None and error is None:
            self.wait(self.pending[0])
        self.link.shutdown(error)
        if error is None:
            dist.destroy_process_group()
