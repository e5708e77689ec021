"""Plan of the samples of each step, in an order keyed by (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bagoftricks.data.augment import PassRows
from bagoftricks.data.sources import Labels
from bagoftricks.rng import Key

Table = Float[Tensor, "N K"]  # a teacher's probabilities for each image of a split, on the device


@dataclass(frozen=True)
class StepPlan:
    """Samples of each step of an epoch. A pass is one shuffle of all the samples."""

    count: int
    batch_size: int
    key: Key | None = None  # None: in order, the last batch may be small
    reads: int = 1  # passes that go into each step

    def __len__(self) -> int:
        return -(-self.count // self.batch_size) if self.key is None else self.count // self.batch_size

    def steps(self, epoch: int, start: int = 0) -> Iterator[PassRows]:
        """Yield the rows of each step from ``start`` on, for each pass that goes into it."""
        orders: list[Labels] = [np.arange(self.count)]
        if self.key is not None:
            orders = [self.key.fold("order", epoch, p).numpy().permutation(self.count) for p in range(self.reads)]
        for step in range(start, len(self)):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            yield [(p, order[rows]) for p, order in enumerate(orders)]


def table_rows(table: Table | None, rows: Tensor) -> Tensor | None:
    return None if table is None else table[rows.to(table.device, non_blocking=True)]
