"""Numbers of many steps at once are those of one step after the other."""

from itertools import islice

import numpy as np
import pytest
import torch

from bagoftricks.data import numbers
from bagoftricks.data.augment import Augment
from bagoftricks.data.numbers import EpochNumbers
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.shares import Shares
from bagoftricks.distributed import World
from bagoftricks.rng import Key
from tests.helpers import create

KEY = Key(3).fold("data")
CPU = torch.device("cpu")
FLIPS = create("alternating_flip").edits(None)[0]
AUGMENT = Augment(8, KEY, crop="pad", pad=1, flip=True, flips=FLIPS, jitter="hsv", pca=0.1)
PLANS = [
    StepPlan(37, 5, KEY),
    StepPlan(37, 5, KEY, reads=2),
    StepPlan(37, 5, KEY, copies=np.linspace(0.5, 1.5, 37)),
    StepPlan(37, 6, KEY, reads=2, copies=np.linspace(0.5, 1.5, 37), repeats=3),
    StepPlan(37, 5),
]


class Second(World):
    """The second of two ranks."""

    rank, size = 1, 2


RANKS = [Shares(), Shares(Second()), Shares(Second(), dealt=True)]


def by_step(plan, shares, epoch, start):
    """What the definitions give, a step at a time."""
    for step, parts in shares.steps(enumerate(plan.steps(epoch, start), start)):
        mine = shares.mine(parts)
        rows = np.concatenate([samples for _, samples in mine]) % plan.count
        yield step, torch.from_numpy(rows), AUGMENT.draws(epoch, mine), AUGMENT.shift(epoch, mine)


def as_step(step, parts, made):
    return step, *made


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one[0] == other[0]
        assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize("together", [2**22, 1, 100])
@pytest.mark.parametrize("shares", RANKS)
@pytest.mark.parametrize("plan", PLANS)
def test_many_steps_at_once_have_the_numbers_of_each(plan, shares, together, monkeypatch):
    monkeypatch.setattr(numbers, "TOGETHER", together)
    made = EpochNumbers(plan, AUGMENT, shares, CPU)
    for epoch, start in ((0, 0), (1, 0), (2, 3), (7, 0)):  # in a row, resumed, and another one
        found = [as_step(*step) for step in made.epoch(epoch, start)]
        assert_same(found, list(by_step(plan, shares, epoch, start)))


def test_an_epoch_that_was_left_begins_again():
    plan, shares = PLANS[0], RANKS[0]
    made = EpochNumbers(plan, AUGMENT, shares, CPU)
    list(made.epoch(0))
    list(islice(made.epoch(1), 2))
    assert_same([as_step(*step) for step in made.epoch(1)], list(by_step(plan, shares, 1, 0)))


def test_the_next_epoch_is_drawn_at_the_end_of_this_one(monkeypatch):
    """Then a GPU still works on the last steps; the first step of the next epoch draws nothing."""
    made = EpochNumbers(PLANS[0], AUGMENT, RANKS[0], CPU)
    list(made.epoch(0))
    monkeypatch.setattr(Augment, "draws", lambda *given: pytest.fail("drawn in the loop"))
    assert len(list(islice(made.epoch(1), 7))) == 7
