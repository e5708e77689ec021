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
    With ``repeats`` m, an epoch has a part of a pass, m samples of each image, and m epochs share a pass.
    """

    count: int
    batch_size: int
    key: Key | None = None  # None: in order, the last batch may be small
    reads: int = 1  # passes that go into each step
    copies: Float64 | None = field(default=None, compare=False)  # expected ones of each image in a pass; None: one
    repeats: int = 1  # samples of each image in a pass of a step; it divides the batch size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size) if self.key is None else self.count // self.batch_size

    def steps(self, epoch: int, start: int = 0) -> Iterator[PassRows]:
        """Yield the rows of each step from ``start`` on, for each pass that goes into it."""
        orders: list[Labels] = [np.arange(self.count)]
        shuffle, part = divmod(epoch, self.repeats)
        if self.key is not None:
            draws = [self.key.fold("order", shuffle, p).numpy() for p in range(self.reads)]
            orders = [
                rng.permutation(self.count if self.copies is None else sampled(self.copies, rng)) for rng in draws
            ]
        images = self.batch_size // self.repeats
        for step in range(part * len(self) + start, (part + 1) * len(self)):
            rows = slice(step * images, (step + 1) * images)
            yield [(p, self.repeated(order[rows])) for p, order in enumerate(orders)]

    def repeated(self, samples: Labels) -> Labels:
        """Return ``repeats`` samples of each image in place of one, the first ones of all images first."""
        if self.repeats == 1:
            return samples
        copy, row = np.divmod(samples, self.count)
        numbers = np.arange(self.repeats)[:, None] + self.repeats * copy
        every: Labels = (row + self.count * numbers).ravel()
        return every

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
