"""Choice among arms: facts by hand, and simulated studies of known truth."""

import numpy as np
import pytest

from bagoftricks.statistics.paired import Comparison
from bagoftricks.statistics.selection import best_by_mean, best_that_helps
from tests.simulation.selection import greedy, halving

REAL = {"cosine": 4.0, "mixup": 2.0}
FAR = 3.0  # Monte Carlo standard errors that a simulation may be beyond a limit


def compared(label, difference, verdict="helps"):
    return Comparison(label, "baseline", 3, difference, None, None, None, verdict)


def test_the_largest_gain_that_helps_is_chosen_whatever_else_gains():
    rows = [
        compared("a", 1.0),
        compared("b", 2.0),
        compared("c", 9.0, "undecided: sees 9"),
        compared("d", -3.0, "hurts"),
    ]
    assert best_that_helps(rows, {"a", "b", "c", "d"}) == "b"
    assert best_that_helps(rows, {"a", "c", "d"}) == "a"  # b is too slow
    assert best_that_helps(rows, {"c", "d"}) is None
    assert best_that_helps([compared("a", 1.0), compared("b", 1.0)], {"a", "b"}) == "a"
    faster = [compared("a", -1.0), compared("b", -2.0)]
    assert best_that_helps(faster, {"a", "b"}, higher_is_better=False) == "b"


def test_the_best_by_mean_have_every_seed():
    scores = {"a": {0: 1.0, 1: 2.0}, "b": {0: 3.0, 1: 4.0}, "c": {0: 9.0}, "d": {0: 2.0, 1: 2.5}}
    assert best_by_mean(scores, 2, [0, 1]) == ["b", "d"]
    assert best_by_mean(scores, 1, [0]) == ["c"]
    assert best_by_mean(scores, 2, [0, 1], higher_is_better=False) == ["a", "d"]


def within(hits, most):
    """A share is at most ``most``, but for Monte Carlo error."""
    return np.mean(hits) <= most + FAR * np.sqrt(most * (1 - most) / len(hits))


def unbiased(found):
    """The mean of the reported gain is within 0.05 sd of the truth, but for Monte Carlo error."""
    biases = [of.bias for of in found if of.bias is not None]
    return abs(np.mean(biases)) < 0.05 + FAR * np.std(biases) / np.sqrt(len(biases))


def test_greedy_leaves_useless_tricks_and_finds_real_ones_whose_gain_it_does_not_inflate():
    rng = np.random.default_rng(0)
    assert within([bool(greedy(rng, {}, 3).tricks) for _ in range(150)], 0.06)
    found = [greedy(rng, REAL, 5) for _ in range(30)]
    assert sum("cosine" in of.tricks for of in found) >= 28
    assert sum("mixup" in of.tricks for of in found) > 9
    assert unbiased(found)


def test_what_wins_by_its_mean_is_worth_less_than_its_mean_says():
    rng = np.random.default_rng(0)
    found = [halving(rng, {}, 4) for _ in range(300)]
    assert np.mean([of.selected_by for of in found]) > 0.5  # truth 0
    assert unbiased(found)
    assert within([of.stands for of in found], 0.05)
    real = [halving(rng, REAL, 4) for _ in range(100)]
    assert np.mean(["cosine" in of.tricks for of in real]) > 0.9


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seeds", [2, 5])
def test_greedy_chooses_a_useless_trick_in_few_studies_and_its_gain_on_fresh_seeds_is_right(seeds):
    """40 fresh seeds: few studies choose anything, so that their gains have to be known well."""
    rng = np.random.default_rng(seeds)
    null = [greedy(rng, {}, seeds, 40) for _ in range(8000)]
    assert np.mean([bool(of.tricks) for of in null]) <= 0.06
    biases = [of.bias for of in null if of.bias is not None]
    assert abs(np.mean(biases)) < 0.05
    assert np.mean([of.selected_by for of in null if of.tricks]) > 1  # what is crossed out


@pytest.mark.slow
@pytest.mark.long
def test_greedy_finds_real_tricks_adds_few_useless_ones_and_its_gain_is_right():
    rng = np.random.default_rng(3)
    found = [greedy(rng, REAL, 3) for _ in range(2500)]
    assert np.mean(["cosine" in of.tricks for of in found]) >= 0.9
    assert np.mean(["mixup" in of.tricks for of in found]) >= 0.2
    assert np.mean([not set(of.tricks) <= set(REAL) for of in found]) <= 0.05
    assert abs(np.mean([of.bias for of in found if of.bias is not None])) < 0.05
