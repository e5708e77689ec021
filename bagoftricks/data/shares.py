"""Shares of several ranks in the preparation of a step, and their union in whole batches.

Which samples make up a step, in which order, is the plan's, and the same for any number of ranks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.augment import PassRows
from bagoftricks.data.sources import Labels
from bagoftricks.distributed import ALONE, World
from bagoftricks.rng import send

T = TypeVar("T")


@dataclass(frozen=True)
class Shares:
    """The ranks of a loader and what they do together.

    As a rule a rank's batches are its rows of each batch, a micro-batch after the other.
    """

    world: World = ALONE
    micro: int | None = None  # images of a micro-batch
    whole: bool = False  # every rank gets whole batches, for maps that mix them; it prepares its rows only
    dealt: bool = False  # a rank gets every size-th batch, whole

    def steps(self, steps: Iterable[T]) -> Iterator[T]:
        """Yield the steps in which this rank has a share."""
        return islice(steps, self.world.rank, None, self.world.size) if self.dealt else iter(steps)

    def mine(self, parts: PassRows) -> PassRows:
        """Return the rows of a step that this rank prepares."""
        if self.dealt or self.world.size == 1:
            return parts
        return [(p, rows[self.world.rows(len(rows), self.micro)]) for p, rows in parts]

    def places(self, parts: PassRows) -> list[Labels]:
        """For each rank, where what it prepares of a step stands in the whole batch."""
        starts = np.cumsum([0, *(len(rows) for _, rows in parts)])
        counts = [len(rows) for _, rows in parts]

        def of(rank: int) -> Labels:
            own = [self.world.rows(count, self.micro, rank) for count in counts]
            return np.concatenate([start + rows for start, rows in zip(starts, own, strict=False)])

        return [of(rank) for rank in range(self.world.size)]

    def together(
        self, images: UInt8[Tensor, "VN C H W"], places: Sequence[Labels], views: int, device: torch.device
    ) -> UInt8[Tensor, "VB C H W"]:
        """Return a whole batch on the device from the ranks' parts."""
        mine = send(images, device)
        by_row = mine.view(views, len(mine) // views, *mine.shape[1:]).transpose(0, 1)
        return self.world.whole(by_row, places).transpose(0, 1).flatten(0, 1)

    def readable(self, places: Sequence[Labels], broken: Sequence[int]) -> tuple[list[Labels], Labels]:
        """Return the positions of the readable images once broken ones are removed, and the remaining rows.

        ``broken`` are those of this rank's images that cannot be read, counted as it prepares them.
        """
        lost = self.world.all_gather_object(list(broken))
        kept = [np.delete(own, gone) for own, gone in zip(places, lost, strict=True)]
        rows = np.sort(np.concatenate(kept))
        return [np.searchsorted(rows, own) for own in kept], rows


UNSHARED = Shares()
