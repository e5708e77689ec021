import gc
from itertools import chain, combinations, product
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyDOE3 import fracfact, pbdesign
from scipy import stats

from bagoftricks.errors import UserError
from bagoftricks.statistics.effects import factorial_effects, shapley
from bagoftricks.statistics.paired import holm

TRICKS = ["mixup", "cosine", "ema", "sam"]


def subsets(tricks):
    return [frozenset(c) for c in chain.from_iterable(combinations(tricks, k) for k in range(len(tricks) + 1))]


def design(rows, tricks=TRICKS):
    """The sets of tricks that rows of ±1 switch on."""
    return [frozenset(trick for trick, level in zip(tricks, row, strict=True) if level > 0) for row in rows]


def runs(sets, score, seeds=(0, 1)):
    return [(on, seed, float(score(on, seed))) for seed in seeds for on in sets]


def noisy(seed=0):
    """Runs of all subsets whose scores are noise around 76."""
    rng = np.random.default_rng(seed)
    return runs(subsets(TRICKS), lambda on, seed: 76 + rng.normal(0, 0.3))


GAIN = {"mixup": 0.5, "cosine": 1.25, "ema": 0.0, "sam": -0.75}


def additive(on, seed):
    return 76 + 3 * seed + sum(GAIN[trick] for trick in on)


def test_effects_of_what_adds_up_are_exact_and_interactions_are_zero():
    effects = factorial_effects(runs(subsets(TRICKS), additive), TRICKS)
    assert [effect.tricks for effect in effects] == [(t,) for t in TRICKS] + list(combinations(TRICKS, 2))
    expected = [GAIN[effect.tricks[0]] if len(effect.tricks) == 1 else 0.0 for effect in effects]
    assert [effect.estimate for effect in effects] == pytest.approx(expected, abs=1e-9)
    assert {(e.low, e.high, e.p, e.p_holm, e.aliased_with) for e in effects} == {(None, None, None, None, ())}


def test_an_interaction_is_half_of_what_one_trick_changes_in_the_effect_of_the_other():
    # Off, on of ema: +1 without sam, +4 with it. Main effect (1 + 4) / 2, interaction (4 - 1) / 2.
    scores = {(): 10.0, ("ema",): 11.0, ("sam",): 10.0, ("ema", "sam"): 14.0}
    effects = factorial_effects([(frozenset(on), 0, score) for on, score in scores.items()], ["ema", "sam"])
    assert [(e.tricks, e.estimate) for e in effects] == [
        (("ema",), pytest.approx(2.5)),
        (("sam",), pytest.approx(1.5)),
        (("ema", "sam"), pytest.approx(1.5)),
    ]
    assert {(e.low, e.high, e.p) for e in effects} == {(None, None, None)}  # 4 runs, 4 parameters: nothing to judge by


def test_a_main_effect_is_the_difference_of_means():
    scores = noisy()
    effect = factorial_effects(scores, TRICKS)[0]
    on, off = ([score for tricks, _, score in scores if ("mixup" in tricks) == there] for there in (True, False))
    assert effect.estimate == pytest.approx(np.mean(on) - np.mean(off))


def test_the_interval_is_that_of_the_paired_t_test_where_there_is_one_trick():
    arm, other = [77.2, 77.3, 76.8], [76.1, 76.5, 75.9]
    pairs = [(frozenset({"ema"}), arm), (frozenset(), other)]
    effect = factorial_effects([(on, seed, v) for on, values in pairs for seed, v in enumerate(values)], ["ema"])[0]
    expected = stats.ttest_rel(arm, other)
    interval = expected.confidence_interval(0.95)
    assert (effect.low, effect.high, effect.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    narrow = factorial_effects(
        [(on, s, v) for on, values in pairs for s, v in enumerate(values)], ["ema"], confidence=0.5
    )
    assert narrow[0].high == pytest.approx(expected.confidence_interval(0.5).high)


def test_effects_are_corrected_together():
    effects = factorial_effects(noisy(), TRICKS)
    assert [effect.p_holm for effect in effects] == pytest.approx(holm([effect.p for effect in effects]))


def test_seeds_are_blocks():
    scores = noisy()
    moved = [(on, seed, score + 20 * seed) for on, seed, score in scores]
    for effect, before in zip(factorial_effects(moved, TRICKS), factorial_effects(scores, TRICKS), strict=True):
        assert (effect.estimate, effect.low, effect.high) == pytest.approx((before.estimate, before.low, before.high))


def test_intervals_of_effects_cover_the_truth(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels' correction of p-values calls it
    covered = []
    for study in range(200):
        effects = factorial_effects(noisy(study), TRICKS)
        covered += [effect.low <= 0 <= effect.high for effect in effects]
    print(f"{np.mean(covered):.4f} of {len(covered)} intervals cover the truth")
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_fraction_names_what_it_cannot_tell_apart():
    # The fourth trick is on where the product of the others is +1: resolution IV, so pairs are aliased with pairs.
    sets = design(fracfact("a b c abc"))
    rng = np.random.default_rng(0)
    noise = {(on, seed): rng.normal(0, 0.01) for on in sets for seed in (0, 1)}
    scores = runs(sets, lambda on, s: additive(on, s) + noise[on, s] + 2 * ({"mixup", "cosine"} <= on))
    effects = {effect.tricks: effect for effect in factorial_effects(scores, TRICKS)}
    assert {tricks: effect.aliased_with for tricks, effect in effects.items()} == {
        **{(trick,): () for trick in TRICKS},
        ("mixup", "cosine"): (("ema", "sam"),),
        ("mixup", "ema"): (("cosine", "sam"),),
        ("mixup", "sam"): (("cosine", "ema"),),
    }
    assert effects["mixup", "cosine"].estimate == pytest.approx(1.0, abs=0.05)  # 2 points more: half of it, see above
    assert effects["mixup", "cosine"].low > 0
    assert effects["mixup",].estimate == pytest.approx(1.5, abs=0.05)  # 0.5 alone, 2.5 with cosine


def test_the_smallest_fraction_aliases_main_effects_with_interactions():
    sets = design(fracfact("a b ab"), TRICKS[:3])
    effects = factorial_effects(runs(sets, additive), TRICKS[:3])
    assert [(e.tricks, e.aliased_with) for e in effects] == [
        (("mixup",), (("cosine", "ema"),)),
        (("cosine",), (("mixup", "ema"),)),
        (("ema",), (("mixup", "cosine"),)),
    ]
    mains = factorial_effects(runs(sets, additive), TRICKS[:3], interactions=False)
    assert [(e.tricks, e.aliased_with) for e in mains] == [((trick,), ()) for trick in TRICKS[:3]]


def test_a_trick_that_is_never_off_or_goes_with_the_seed_is_aliased_with_the_mean():
    always = [(frozenset({"sam"} | on), seed, score) for on, seed, score in runs(subsets(["ema"]), additive)]
    ema, sam = factorial_effects(always, ["ema", "sam"], interactions=False)
    assert (ema.estimate, ema.aliased_with) == (pytest.approx(0.0), ())
    assert (sam.estimate, sam.p_holm, sam.aliased_with) == (None, None, ((),))
    by_seed = [(frozenset({"sam"} if seed else ()), seed, 1.0 * seed) for seed in (0, 1)]
    assert factorial_effects(by_seed, ["sam"])[0].aliased_with == ((),)


def test_what_is_partly_aliased_gets_no_number_and_leaves_the_rest_alone():
    # One of four combinations of ema and sam is missing: their three effects cannot be had from three means.
    sets = [on for on in subsets(["mixup", "ema", "sam"]) if not {"ema", "sam"} <= on]
    rng = np.random.default_rng(0)
    scores = runs(sets, lambda on, seed: additive(on, seed) + rng.normal(0, 0.01), seeds=range(4))
    effects = factorial_effects(scores, ["mixup", "ema", "sam"])
    found = {effect.tricks: effect for effect in effects}
    assert found["ema",].estimate is None
    assert found["ema",].aliased_with == (("sam",), ("ema", "sam"))
    # What they do all the same is not counted as noise of the others.
    assert 0.45 < found["mixup",].low < found["mixup",].high < 0.55
    known = factorial_effects(scores, ["mixup", "ema", "sam"], interactions=False)
    assert [effect.estimate for effect in known] == pytest.approx([0.5, 0.0, -0.75], abs=0.02)


def test_plackett_and_burman_give_main_effects_alone():
    tricks = [f"trick{index}" for index in range(11)]
    sets = design(pbdesign(11), tricks)
    rng = np.random.default_rng(0)
    scores = runs(sets, lambda on, seed: len(on & {"trick3"}) + rng.normal(0, 0.01))
    mains = factorial_effects(scores, tricks, interactions=False)
    assert [effect.estimate for effect in mains] == pytest.approx([0.0] * 3 + [1.0] + [0.0] * 7, abs=0.05)
    assert all(effect.low <= effect.estimate <= effect.high and effect.aliased_with == () for effect in mains)
    (mixed,) = factorial_effects(scores, tricks)
    assert (mixed.estimate, len(mixed.aliased_with)) == (None, 65)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((frozenset({"emma"}), 5, 1.0), "emma, seed 5: 'emma' is not one of the design's tricks; did you mean 'ema'"),
        ((frozenset({"ema"}), 5, float("nan")), "ema, seed 5 is nan"),
        ((frozenset({"ema", "sam"}), 0, 1.0), r"ema \+ sam, seed 0 is there twice"),
    ],
)
def test_runs_that_no_design_holds_are_refused(extra, message):
    with pytest.raises(UserError, match=message):
        factorial_effects([*runs(subsets(TRICKS), additive), extra], TRICKS)


def test_no_tricks_have_no_effects():
    assert factorial_effects([(frozenset(), 0, 76.0), (frozenset(), 1, 76.5)], []) == []
    assert shapley({frozenset(): 76.0}, []) == {}


def test_no_runs_are_refused():
    with pytest.raises(UserError, match="no runs"):
        factorial_effects([], TRICKS)


def test_shares_of_what_adds_up_are_what_is_added():
    assert shapley({on: additive(on, 0) for on in subsets(TRICKS)}, TRICKS) == pytest.approx(GAIN)


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
