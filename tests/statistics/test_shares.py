from itertools import chain, combinations, product
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bagoftricks.statistics.effects import factorial_effects
from bagoftricks.statistics.shares import shapley, shapley_weights, shares_of

TRICKS = ["mixup", "cosine", "ema", "sam"]
GAIN = {"mixup": 0.5, "cosine": 1.25, "ema": 0.0, "sam": -0.75}


def subsets(tricks):
    return [frozenset(c) for c in chain.from_iterable(combinations(tricks, k) for k in range(len(tricks) + 1))]


def noisy(sets, seeds, rng, sd=1.0):
    return [(on, seed, 70 + sum(GAIN[t] for t in on) + 2 * seed + sd * rng.normal()) for on in sets for seed in seeds]


def test_no_tricks_share_nothing():
    assert shapley({frozenset(): 76.0}, []) == {}


def test_shares_of_what_adds_up_are_what_is_added():
    assert shapley({on: sum(GAIN[trick] for trick in on) for on in subsets(TRICKS)}, TRICKS) == pytest.approx(GAIN)


def test_shares_of_the_glove_game():
    # One left and two right gloves; a pair is worth 1. The textbook's shares: 2/3, 1/6, 1/6.
    game = {on: float("left" in on and len(on) > 1) for on in subsets(["left", "right", "other"])}
    assert shapley(game, ["left", "right", "other"]) == pytest.approx({"left": 2 / 3, "right": 1 / 6, "other": 1 / 6})


@given(st.lists(st.floats(-100, 100), min_size=16, max_size=16))
def test_shares_are_gains_over_all_orders_and_sum_to_the_whole_gain(scores):
    game = dict(zip(subsets(TRICKS), scores, strict=True))
    shares = shapley(game, TRICKS)
    assert sum(shares.values()) == pytest.approx(game[frozenset(TRICKS)] - game[frozenset()], abs=1e-9)
    over_orders = dict.fromkeys(TRICKS, 0.0)
    for order in (order for order in product(TRICKS, repeat=4) if len(set(order)) == 4):
        for place, trick in enumerate(order):
            over_orders[trick] += (game[frozenset(order[: place + 1])] - game[frozenset(order[:place])]) / factorial(4)
    assert shares == pytest.approx(over_orders, abs=1e-9)


def test_tricks_that_do_the_same_share_alike():
    game = {on: len(on) ** 2.0 for on in subsets(TRICKS)}
    assert shapley(game, TRICKS) == pytest.approx(dict.fromkeys(TRICKS, 4.0))


@pytest.mark.parametrize(("missing", "name"), [({"ema", "sam"}, r"ema \+ sam"), (set(), "baseline")])
def test_a_missing_subset_is_named(missing, name):
    game = {on: 1.0 for on in subsets(TRICKS) if on != missing}
    with pytest.raises(ValueError, match=f"no score for {name}: Shapley shares need all 16 subsets"):
        shapley(game, TRICKS)


def test_a_subset_whose_score_is_no_number_is_named():
    with pytest.raises(ValueError, match="ema is nan"):
        shapley({frozenset(): 1.0, frozenset({"ema"}): float("nan")}, ["ema"])


def test_the_weights_of_a_share_are_those_of_all_orders():
    # Of two tricks, one comes first in half of the orders: half of its gain alone, half of its gain on the other.
    a, b = frozenset("a"), frozenset("b")
    assert shapley_weights("a", ["a", "b"]) == {frozenset(): -0.5, a: 0.5, b: -0.5, a | b: 0.5}


def test_an_interval_of_a_share_is_a_t_interval_with_the_noise_of_all_arms():
    rng = np.random.default_rng(3)
    sets, seeds = subsets(["mixup", "cosine"]), range(4)
    runs = noisy(sets, seeds, rng)
    scores = np.array([[s for on, seed, s in runs if on == arm] for arm in sets])
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    error = np.sqrt((rest**2).sum() / 9 * (4 * 0.25) / 4)
    factors = [("mixup",), ("cosine",)]
    found = shares_of(runs, factors, factorial_effects(runs, factors))["mixup"]
    margin = stats.t.isf(0.05 / 4, 9) * error
    assert (found.low, found.high) == pytest.approx((found.value - margin, found.value + margin))


def test_the_shares_of_a_fraction_are_its_main_effects():
    rng = np.random.default_rng(4)
    rows = [r for r in product([0, 1], repeat=4) if sum(r) % 2 == 0]  # resolution IV
    runs = noisy([frozenset(t for t, on in zip(TRICKS, row, strict=True) if on) for row in rows], range(3), rng)
    factors = [(trick,) for trick in TRICKS]
    effects = factorial_effects(runs, factors)
    found = shares_of(runs, factors, effects)
    assert {t: (s.value, s.low) for t, s in found.items()} == {
        e.tricks[0]: (e.estimate, e.low) for e in effects.rows if len(e.tricks) == 1
    }


def test_a_share_of_the_model_is_that_of_all_subsets_without_interactions_of_three():
    rng = np.random.default_rng(5)
    pairs = {pair: rng.normal() for pair in combinations(TRICKS, 2)}
    runs = [
        (on, 0, sum(GAIN[t] for t in on) + sum(w for pair, w in pairs.items() if on.issuperset(pair)))
        for on in subsets(TRICKS)
    ]
    mains = {e.tricks[0]: e.estimate for e in factorial_effects(runs, TRICKS).rows if len(e.tricks) == 1}
    assert shapley({on: score for on, _, score in runs}, TRICKS) == pytest.approx(mains)


def test_a_seed_that_only_some_arms_have_is_no_gain():
    runs = noisy(subsets(["mixup", "cosine"]), [0, 1], np.random.default_rng(6), sd=0.0)
    factors = [("mixup",), ("cosine",)]
    extra = [*runs, (frozenset(["mixup"]), 2, 500.0)]
    found = shares_of(extra, factors, factorial_effects(extra, factors))
    assert {trick: share.value for trick, share in found.items()} == pytest.approx({"mixup": 0.5, "cosine": 1.25})


@pytest.mark.slow
def test_intervals_of_shares_hold_together():
    rng, held = np.random.default_rng(7), 0
    factors = [(trick,) for trick in TRICKS[:3]]
    for _ in range(2000):
        runs = noisy(subsets(TRICKS[:3]), range(3), rng)
        found = shares_of(runs, factors, factorial_effects(runs, factors))
        held += all(share.low <= GAIN[trick] <= share.high for trick, share in found.items())
    assert 0.935 <= held / 2000 <= 0.97
