"""Rows, draws and colour noise of the steps of an epoch, made and sent many steps at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bagoftricks.data.augment import Augment, PassRows, send_together
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.shares import Shares

TOGETHER = 2**22  # numbers that are made and sent at once: an epoch of CIFAR-10 has 200,000


class StepNumbers(NamedTuple):
    """The numbers of one step's images that this rank prepares, on the device."""

    rows: Int64[Tensor, " B"]  # of the split
    draws: Float[Tensor, "B n"]
    shift: Float[Tensor, "B n"]  # colour noise


OfStep = tuple[int, PassRows, StepNumbers]  # the number of the step and its samples


@dataclass
class EpochNumbers:
    """StepNumbers of every step of an epoch, without a copy from the host between its steps."""

    plan: StepPlan
    augment: Augment
    shares: Shares
    device: torch.device
    following: tuple[int, Iterator[OfStep]] = field(default=(-1, iter(())), repr=False)  # an epoch and its steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[OfStep]:
        """Yield the numbers of each step from ``start`` on.

        Those of the next epoch are begun at the end: a GPU still works on the last steps then.
        """
        (made, steps), self.following = self.following, (-1, iter(()))
        yield from steps if (made, start) == (epoch, 0) else self._steps(epoch, start)
        if self.plan.key is not None:
            coming = self._steps(epoch + 1, 0)
            self.following = epoch + 1, chain(list(islice(coming, 1)), coming)

    def _steps(self, epoch: int, start: int) -> Iterator[OfStep]:
        steps = self.shares.steps(enumerate(self.plan.steps(epoch, start), start))
        of_an_image = 1 + sum(self.augment.counts.values()) + (3 if self.augment.pca else 0)
        count = max(1, TOGETHER // (of_an_image * self.plan.batch_size * self.plan.reads))
        while some := list(islice(steps, count)):
            mine = [self.shares.mine(parts) for _, parts in some]
            passes = [self._of_pass(epoch, list(of_pass)) for of_pass in zip(*mine, strict=True)]
            for (step, parts), pieces in zip(some, zip(*passes, strict=True), strict=True):
                joined = pieces[0] if len(pieces) == 1 else StepNumbers(*map(torch.cat, zip(*pieces, strict=True)))
                yield step, parts, joined

    def _of_pass(self, epoch: int, steps: PassRows) -> list[StepNumbers]:
        """Return the numbers of one pass's samples for each of several steps, which are drawn and sent together."""
        pass_, lengths = steps[0][0], [len(samples) for _, samples in steps]
        samples = np.concatenate([samples for _, samples in steps])
        rows = torch.from_numpy(samples % self.plan.count)[:, None]
        every: PassRows = [(pass_, samples)]
        made = [rows, self.augment.draws(epoch, every), self.augment.shift(epoch, every)]
        sent = made if self.device.type == "cpu" else send_together(made, self.device)
        of_steps = zip(*(part.split_with_sizes(lengths) for part in sent), strict=True)
        return [StepNumbers(rows[:, 0], draws, shift) for rows, draws, shift in of_steps]
