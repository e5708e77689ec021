"""Plan of the samples of each step, in an order keyed by (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bagoftricks.data.augment import PassRows
from bagoftricks.data.sources import Labels
from bagoftricks.recipe.edits import Float64
from bagoftricks.rng import Key

Table = Float[Tensor, "N K"]  # a teacher's probabilities for each image of a split, on the device


@dataclass(frozen=True)
class StepPlan:
    """Samples of each step of an epoch. A pass is one shuffle of all the samples.

    Sample i is image i mod ``count``: with ``copies``, sample i + count is the second copy of an image in its pass.
    """

    count: int
    batch_size: int
    key: Key | None = None  # None: in order, the last batch may be small
    reads: int = 1  # passes that go into each step
    copies: Float64 | None = field(default=None, compare=False)  # expected ones of each image in a pass; None: one

    def __len__(self) -> int:
        return -(-self.count // self.batch_size) if self.key is None else self.count // self.batch_size

    def steps(self, epoch: int, start: int = 0) -> Iterator[PassRows]:
        """Yield the rows of each step from ``start`` on, for each pass that goes into it."""
        orders: list[Labels] = [np.arange(self.count)]
        if self.key is not None:
            draws = [self.key.fold("order", epoch, p).numpy() for p in range(self.reads)]
            orders = [
                rng.permutation(self.count if self.copies is None else sampled(self.copies, rng)) for rng in draws
            ]
        for step in range(start, len(self)):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            yield [(p, order[rows]) for p, order in enumerate(orders)]

    def left(self, rows: Labels) -> "StepPlan":
        """Return the plan of the images at these rows, where the others cannot be read."""
        copies = None if self.copies is None else self.copies[rows] * len(rows) / self.copies[rows].sum()
        return replace(self, count=len(rows), copies=copies)


def sampled(copies: Float64, rng: np.random.Generator) -> Labels:
    """Return as many samples as images, whose numbers have the means ``copies`` and differ from them by less than 1.

    Systematic sampling: evenly spaced marks, from a random start, on the copies laid end to end in a random order.
    """
    count = len(copies)
    order = rng.permutation(count)
    ends = np.cumsum(copies[order])
    marks = (np.arange(count) + rng.random()) * (ends[-1] / count)
    picked = np.minimum(np.searchsorted(ends, marks, side="right"), count - 1)
    copy = np.arange(count) - np.searchsorted(picked, picked)  # those of an image are neighbours
    samples: Labels = order[picked] + count * copy
    return samples


def table_rows(table: Table | None, rows: Tensor) -> Tensor | None:
    return None if table is None else table[rows.to(table.device, non_blocking=True)]
