"""Effects of designs: exact on data that add up, and their noise, aliases and intervals by other routes."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyDOE3 import fracfact, pbdesign
from scipy import stats

from bagoftricks.errors import UserError
from bagoftricks.statistics.effects import Alias, factorial_effects, main_effects
from bagoftricks.statistics.lenth import lenth_critical, pseudo_error
from bagoftricks.statistics.max_t import LargestT

TRICKS = ["mixup", "cosine", "ema", "sam"]
EIGHT = [f"trick{index}" for index in range(8)]


def subsets(tricks):
    return [frozenset(c) for c in chain.from_iterable(combinations(tricks, k) for k in range(len(tricks) + 1))]


def design(rows, tricks=TRICKS):
    """The sets of tricks that rows of ±1 switch on."""
    return [frozenset(trick for trick, level in zip(tricks, row, strict=True) if level > 0) for row in rows]


def runs(sets, score, seeds=(0, 1)):
    return [(on, seed, float(score(on, seed))) for seed in seeds for on in sets]


def noise(seed=0, sd=0.3):
    """A score that is noise alone, around 76."""
    rng = np.random.default_rng(seed)
    return lambda on, seed: 76 + rng.normal(0, sd)


def noisy(seed=0):
    """Runs of all subsets whose scores are noise around 76."""
    return runs(subsets(TRICKS), noise(seed))


def by_tricks(effects):
    return {effect.tricks: effect for effect in effects.rows}


GAIN = {"mixup": 0.5, "cosine": 1.25, "ema": 0.0, "sam": -0.75}


def additive(on, seed):
    return 76 + 3 * seed + sum(GAIN[trick] for trick in on)


def test_effects_of_what_adds_up_are_exact_and_interactions_are_zero():
    effects = factorial_effects(runs(subsets(TRICKS), additive), TRICKS)
    assert [effect.tricks for effect in effects.rows] == [(t,) for t in TRICKS] + list(combinations(TRICKS, 2))
    expected = [GAIN[effect.tricks[0]] if len(effect.tricks) == 1 else 0.0 for effect in effects.rows]
    assert [effect.estimate for effect in effects.rows] == pytest.approx(expected, abs=1e-9)
    assert {(e.low, e.high, e.p_adjusted, e.verdict, e.noise, e.aliased_with) for e in effects.rows} == {
        (None, None, None, "", None, ())
    }
    assert (effects.noise, effects.dof, effects.main_effects_only) == (None, None, False)


def test_an_interaction_is_half_of_what_one_trick_changes_in_the_effect_of_the_other():
    # Off, on of ema: +1 without sam, +4 with it. Main effect (1 + 4) / 2, interaction (4 - 1) / 2.
    scores = {(): 10.0, ("ema",): 11.0, ("sam",): 10.0, ("ema", "sam"): 14.0}
    effects = factorial_effects([(frozenset(on), 0, score) for on, score in scores.items()], ["ema", "sam"])
    assert [(e.tricks, e.estimate) for e in effects.rows] == [
        (("ema",), pytest.approx(2.5)),
        (("sam",), pytest.approx(1.5)),
        (("ema", "sam"), pytest.approx(1.5)),
    ]
    assert {(e.low, e.high, e.noise) for e in effects.rows} == {(None, None, None)}  # 4 runs, 4 parameters


def test_a_main_effect_is_the_difference_of_means():
    scores = noisy()
    effect = factorial_effects(scores, TRICKS).rows[0]
    on, off = ([score for tricks, _, score in scores if ("mixup" in tricks) == there] for there in (True, False))
    assert effect.estimate == pytest.approx(np.mean(on) - np.mean(off))


def test_the_interval_is_that_of_the_paired_t_test_where_there_is_one_trick():
    arm, other = [77.2, 77.3, 76.8], [76.1, 76.5, 75.9]
    pairs = [(frozenset({"ema"}), arm), (frozenset(), other)]
    scores = [(on, seed, v) for on, values in pairs for seed, v in enumerate(values)]
    expected = stats.ttest_rel(arm, other)
    (effect,) = factorial_effects(scores, ["ema"]).rows
    interval = expected.confidence_interval(0.95)
    assert (effect.low, effect.high, effect.p_adjusted) == pytest.approx((interval.low, interval.high, expected.pvalue))


def residual_variance(scores):
    """Variance of a run from what means of arms and seeds leave, and its degrees of freedom; no run is missing."""
    arms, seeds = sorted({on for on, _, _ in scores}, key=sorted), sorted({seed for _, seed, _ in scores})
    at = {(on, seed): score for on, seed, score in scores}
    values = np.array([[at[on, seed] for seed in seeds] for on in arms])
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    dof = (len(arms) - 1) * (len(seeds) - 1)
    return (left**2).sum() / dof, dof


def test_several_seeds_give_the_noise_between_runs_of_one_arm():
    scores = noisy()
    effects = factorial_effects(scores, TRICKS)
    variance, dof = residual_variance(scores)
    assert (effects.noise, effects.dof) == ("replicates", pytest.approx(dof))
    assert dof == 15
    error, law = np.sqrt(4 * variance / 32), LargestT(np.eye(10))  # the effects are independent
    for effect in effects.rows:
        assert effect.high - effect.estimate == pytest.approx(law.critical(0.05, 15) * error)
        assert effect.estimate - effect.low == pytest.approx(law.critical(0.05, 15) * error)
        assert effect.p_adjusted == pytest.approx(law.p_value(effect.estimate / error, 15))


def test_replicates_leave_interactions_of_three_out_of_the_noise():
    scores = [(on, seed, score + 9 * ({"mixup", "cosine", "ema"} <= on)) for on, seed, score in noisy()]
    found = factorial_effects(scores, TRICKS)
    assert found.noise == "replicates"
    assert found.rows[0].high - found.rows[0].low < 1.0


def test_one_seed_gives_the_noise_that_the_effects_leave():
    scores = runs(subsets(TRICKS), noise(), seeds=[0])
    effects = factorial_effects(scores, TRICKS)
    assert (effects.noise, effects.dof) == ("residuals", 16 - 1 - 10)
    signs = np.array([[1 if trick in on else -1 for trick in TRICKS] for on, _, _ in scores])
    columns = [np.ones(16), *signs.T, *(signs[:, a] * signs[:, b] for a, b in combinations(range(4), 2))]
    fit = np.linalg.lstsq(np.array(columns).T, np.array([score for *_, score in scores]), rcond=None)
    error = np.sqrt(4 * fit[1][0] / 5 / 16)
    assert effects.rows[0].high - effects.rows[0].estimate == pytest.approx(
        LargestT(np.eye(10)).critical(0.05, 5) * error
    )


def test_few_replicates_give_way_to_residuals_that_are_more():
    # 2^2 x 2 seeds: 3 degrees of freedom between runs of an arm, and as many that the effects leave: replicates.
    scores = runs(subsets(TRICKS[:2]), noise())
    assert (factorial_effects(scores, TRICKS[:2]).noise, factorial_effects(scores, TRICKS[:2]).dof) == ("replicates", 3)
    # Main effects leave one more: 4 degrees of freedom.
    mains = main_effects(scores, TRICKS[:2])
    assert (mains.noise, mains.dof) == ("residuals", 4)


def test_one_seed_that_the_effects_use_up_is_judged_by_lenths_pseudo_error():
    # 2^(8-4): 15 effects of 16 runs, all but one of them noise.
    sets = design(fracfact("a b c d bcd acd abc abd"), EIGHT)
    draw = noise()
    scores = runs(sets, lambda on, seed: draw(on, seed) + 5 * ("trick2" in on), seeds=[0])
    effects = factorial_effects(scores, EIGHT)
    assert (effects.noise, len(effects.rows)) == ("Lenth", 15)
    estimates = np.array([effect.estimate for effect in effects.rows])
    margin = lenth_critical(0.05, 15) * pseudo_error(estimates)
    assert [e.high - e.estimate for e in effects.rows] == pytest.approx([margin] * 15)
    assert [e.tricks for e in effects.rows if e.stands] == [("trick2",)]
    assert by_tricks(effects)["trick2",].verdict == "helps"
    assert {effect.noise for effect in effects.rows} == {"Lenth"}


def test_one_degree_of_freedom_of_one_seed_is_no_noise_to_judge_by():
    # 2^3: six effects and a mean of eight runs.
    assert factorial_effects(runs(subsets(TRICKS[:3]), noise(), seeds=[0]), TRICKS[:3]).noise == "Lenth"


def test_effects_of_different_precision_have_no_pseudo_error_in_common():
    # 3 x 2 x 2 runs of one seed leave two degrees of freedom; a factor of two levels is known better than alternatives.
    sets = [frozenset({*on, *more}) for on in subsets(["cosine", "ema"]) for more in ((), ("mixup",), ("cutmix",))]
    found = factorial_effects(runs(sets, noise(), seeds=[0]), [("mixup", "cutmix"), "cosine", "ema"])
    assert (found.noise, len(found.rows)) == (None, 9)
    assert {(row.low, row.verdict) for row in found.rows} == {(None, "")}


def test_too_few_effects_of_one_seed_have_no_noise():
    scores = runs(design(fracfact("a b ab"), TRICKS[:3]), noise(), seeds=[0])
    effects = factorial_effects(scores, TRICKS[:3])
    assert effects.noise is None
    assert all(e.estimate is not None and e.low is None and e.verdict == "" for e in effects.rows)


def test_seeds_are_blocks():
    scores = noisy()
    moved = [(on, seed, score + 20 * seed) for on, seed, score in scores]
    for effect, before in zip(
        factorial_effects(moved, TRICKS).rows, factorial_effects(scores, TRICKS).rows, strict=True
    ):
        assert (effect.estimate, effect.low, effect.high) == pytest.approx((before.estimate, before.low, before.high))


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_scaling_scales_and_verdicts_stand_where_0_is_outside(seeds):
    draw = noise(3, 1.0)
    scores = runs(subsets(TRICKS), lambda on, seed: additive(on, seed) + draw(on, seed), seeds)
    scaled = [(on, seed, 7 * score) for on, seed, score in scores]
    found, large = factorial_effects(scores, TRICKS), factorial_effects(scaled, TRICKS)
    for effect, before in zip(large.rows, found.rows, strict=True):
        assert effect.p_adjusted == pytest.approx(before.p_adjusted)
        assert (effect.low, effect.high) == pytest.approx((7 * before.low, 7 * before.high))
        assert effect.stands == (effect.low > 0 or effect.high < 0) == (effect.p_adjusted <= 0.05)


def test_verdicts_of_effects():
    quiet = noise(0, 0.01)
    scores = runs(subsets(TRICKS[:3]), lambda on, s: additive(on, s) + quiet(on, s) + 2 * ({"mixup", "ema"} <= on))
    up, down = (by_tricks(factorial_effects(scores, TRICKS[:3], higher_is_better=better)) for better in (True, False))
    assert (up["cosine",].verdict, down["cosine",].verdict) == ("helps", "hurts")
    pair = "mixup", "ema"
    assert (up[pair].verdict, down[pair].verdict) == ("better together", "worse together")
    assert up[pair].stands
    assert up["mixup", "cosine"].verdict.startswith("no effect above 0.0")
    wide = factorial_effects(noisy(), TRICKS, resolve=0.1, unit="s")
    for effect in (effect for effect in wide.rows if not effect.stands):
        assert effect.verdict.startswith(f"undecided: sees {effect.sees:.2g} s, {effect.seeds_low} to ")
        assert effect.verdict.endswith("seeds would see 0.1")


def test_the_seeds_that_an_effect_needs_are_those_whose_studies_see_it():
    scores = runs(subsets(TRICKS), noise(0, 1.0), seeds=range(4))
    effect = factorial_effects(scores, TRICKS, resolve=0.3).rows[0]
    more = [(on, seed + 4 * copy, score) for copy in range(effect.seeds_high // 4 + 1) for on, seed, score in scores]
    assert factorial_effects(more, TRICKS, resolve=0.3).rows[0].sees <= 0.3
    assert factorial_effects(scores[:16], TRICKS).rows[0].seeds_high is None  # one seed tells nothing of others


def test_intervals_of_effects_cover_all_truths_in_95_percent_of_studies():
    held = [all(e.low <= 0 <= e.high for e in factorial_effects(noisy(study), TRICKS).rows) for study in range(150)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.045)  # 2.5 standard errors; scripts/simulate has the figures


def test_what_effects_see_is_found_in_80_percent_of_studies():
    sees = factorial_effects(noisy(), TRICKS[:4]).rows[0].sees
    scores = noisy()
    error = np.sqrt(4 * residual_variance(scores)[0] / 32)
    rng = np.random.default_rng(0)
    t = (sees / error + rng.normal(size=50_000)) / np.sqrt(rng.chisquare(15, 50_000) / 15)
    assert np.mean(t > LargestT(np.eye(10)).critical(0.05, 15)) == pytest.approx(0.8, abs=0.01)


def test_a_fraction_names_what_it_cannot_tell_apart():
    # The fourth trick is on where the product of the others is +1: resolution IV, so pairs are aliased with pairs.
    sets = design(fracfact("a b c abc"))
    rng = np.random.default_rng(0)
    left = {(on, seed): rng.normal(0, 0.01) for on in sets for seed in (0, 1)}
    scores = runs(sets, lambda on, s: additive(on, s) + left[on, s] + 2 * ({"mixup", "cosine"} <= on))
    effects = by_tricks(factorial_effects(scores, TRICKS))
    assert {tricks: effect.aliased_with for tricks, effect in effects.items()} == {
        **{(trick,): () for trick in TRICKS},
        ("mixup", "cosine"): (Alias(("ema", "sam")),),
        ("mixup", "ema"): (Alias(("cosine", "sam")),),
        ("mixup", "sam"): (Alias(("cosine", "ema")),),
    }
    assert effects["mixup", "cosine"].estimate == pytest.approx(1.0, abs=0.05)  # 2 points more: half of it, see above
    assert effects["mixup", "cosine"].low > 0
    assert effects["mixup",].estimate == pytest.approx(1.5, abs=0.05)  # 0.5 alone, 2.5 with cosine


def test_an_alias_of_the_other_half_is_subtracted():
    # The third trick is on where the product of the others is -1.
    sets = design(fracfact("a b -ab"), TRICKS[:3])
    effects = factorial_effects(runs(sets, lambda on, s: 3.0 * ({"mixup", "cosine"} <= on)), TRICKS[:3])
    found = by_tricks(effects)
    assert found["mixup",].aliased_with == (Alias(("cosine", "ema"), -1),)
    assert found["ema",].aliased_with == (Alias(("mixup", "cosine"), -1),)
    # The pair's effect is 3 / 2, so ema's appears as what it is (0) minus that.
    assert found["ema",].estimate == pytest.approx(-1.5)


def test_the_smallest_fraction_aliases_main_effects_with_interactions():
    sets = design(fracfact("a b ab"), TRICKS[:3])
    effects = factorial_effects(runs(sets, additive), TRICKS[:3])
    assert [(e.tricks, e.aliased_with) for e in effects.rows] == [
        (("mixup",), (Alias(("cosine", "ema")),)),
        (("cosine",), (Alias(("mixup", "ema")),)),
        (("ema",), (Alias(("mixup", "cosine")),)),
    ]
    mains = main_effects(runs(sets, additive), TRICKS[:3])
    assert [(e.tricks, e.aliased_with) for e in mains.rows] == [((trick,), ()) for trick in TRICKS[:3]]
    assert (effects.main_effects_only, mains.main_effects_only) == (False, True)


def test_a_trick_that_is_never_off_or_goes_with_the_seed_is_aliased_with_the_mean():
    always = [(frozenset({"sam"} | on), seed, score) for on, seed, score in runs(subsets(["ema"]), additive)]
    ema, sam = main_effects(always, ["ema", "sam"]).rows
    assert (ema.estimate, ema.aliased_with) == (pytest.approx(0.0), ())
    assert (sam.estimate, sam.p_adjusted, sam.aliased_with) == (None, None, (Alias(()),))
    by_seed = [(frozenset({"sam"} if seed else ()), seed, 1.0 * seed) for seed in (0, 1)]
    assert factorial_effects(by_seed, ["sam"]).rows[0].aliased_with == (Alias(()),)


def test_what_is_partly_aliased_gets_no_number_and_leaves_the_rest_alone():
    # One of four combinations of ema and sam is missing: their three effects cannot be had from three means.
    sets = [on for on in subsets(["mixup", "ema", "sam"]) if not {"ema", "sam"} <= on]
    rng = np.random.default_rng(0)
    scores = runs(sets, lambda on, seed: additive(on, seed) + rng.normal(0, 0.01), seeds=range(4))
    tricks = ["mixup", "ema", "sam"]
    mains = by_tricks(factorial_effects(scores, tricks))
    # Main effects alone can be estimated, and that is what is shown.
    assert [mains[trick,].estimate for trick in tricks] == pytest.approx([0.5, 0.0, -0.75], abs=0.02)
    assert set(mains) == {(trick,) for trick in tricks}
    # With a pair of others that is never off, neither model has all: the larger one is shown.
    always = [(on | {"cosine"}, seed, score) for on, seed, score in scores]
    assert factorial_effects(always, [*tricks, "cosine"]).main_effects_only


def test_interactions_that_cannot_be_told_apart_are_no_noise_of_the_rest():
    # Plackett and Burman's twelve runs and their mirror images: main effects are clear of pairs; 15 pairs, 11 means.
    six, rows = EIGHT[:6], pbdesign(11)[:, :6]
    draw = noise(sd=0.01)
    sets = design(np.vstack([rows, -rows]), six)
    scores = runs(sets, lambda on, s: draw(on, s) + 9 * ({"trick0", "trick1"} <= on) + ("trick2" in on), seeds=[0])
    found = factorial_effects(scores, six)
    assert (found.noise, found.main_effects_only) == ("residuals", False)
    mains = by_tricks(found)
    assert [mains[trick,].estimate for trick in six] == pytest.approx([4.5, 4.5, 1, 0, 0, 0], abs=0.05)
    assert mains["trick2",].high - mains["trick2",].low < 0.1
    # Pairs get no number, as none stands for them all.
    assert [row.estimate for row in found.rows[6:]] == [None]
    assert len(found.rows[6].aliased_with) == 14


def test_plackett_and_burman_give_main_effects_alone_and_say_so():
    tricks = [f"trick{index}" for index in range(11)]
    sets = design(pbdesign(11), tricks)
    rng = np.random.default_rng(0)
    scores = runs(sets, lambda on, seed: len(on & {"trick3"}) + rng.normal(0, 0.01))
    mains = factorial_effects(scores, tricks)
    assert mains == main_effects(scores, tricks)
    assert mains.main_effects_only
    assert [e.estimate for e in mains.rows] == pytest.approx([0.0] * 3 + [1.0] + [0.0] * 7, abs=0.05)
    assert [e.tricks for e in mains.rows if e.stands] == [("trick3",)]
    assert all(effect.low <= effect.estimate <= effect.high and effect.aliased_with == () for effect in mains.rows)


def test_five_tricks_in_twelve_runs_of_one_seed_are_judged_by_what_they_leave():
    sets = design(pbdesign(11)[:, :5], EIGHT[:5])
    found = factorial_effects(runs(sets, noise(), seeds=[0]), EIGHT[:5])
    assert (found.noise, found.dof) == ("residuals", 12 - 1 - 5)


ALTERNATIVES = [("mixup", "cutmix"), "cosine"]


def alternative_sets():
    return [frozenset({*first, *second}) for first in ((), ("mixup",), ("cutmix",)) for second in ((), ("cosine",))]


def test_alternatives_have_an_effect_of_each_against_off():
    gain = {"mixup": 1.0, "cutmix": -2.0, "cosine": 0.5}
    effects = factorial_effects(runs(alternative_sets(), lambda on, s: s + sum(gain[t] for t in on)), ALTERNATIVES)
    expected = {("mixup",): 1.0, ("cutmix",): -2.0, ("cosine",): 0.5, ("mixup", "cosine"): 0, ("cutmix", "cosine"): 0}
    assert {e.tricks: e.estimate for e in effects.rows} == pytest.approx(expected, abs=1e-9)
    assert {e.aliased_with for e in effects.rows} == {()}


def test_effects_of_others_are_means_over_the_alternatives():
    # cosine adds 3 next to cutmix and nothing elsewhere: 1 on average. Its pair with cutmix has half of 3.
    scores = runs(alternative_sets(), lambda on, s: 3.0 * ({"cutmix", "cosine"} <= on))
    found = {e.tricks: e.estimate for e in factorial_effects(scores, ALTERNATIVES).rows}
    assert found["cosine",] == pytest.approx(1.0)
    assert found["cutmix", "cosine"] == pytest.approx(1.5)
    assert found["mixup", "cosine"] == pytest.approx(0.0, abs=1e-9)
    assert found["cutmix",] == pytest.approx(1.5)  # 0 without cosine, 3 with it
    assert found["mixup",] == pytest.approx(0.0, abs=1e-9)


def test_intervals_of_alternatives_are_those_of_differences_of_their_means():
    scores = runs(alternative_sets(), noise(), seeds=range(3))
    effects = main_effects(scores, ALTERNATIVES)
    variance, dof = residual_variance(scores)
    assert (effects.noise, effects.dof) == ("replicates", pytest.approx(dof))
    # mixup and cutmix are each 6 runs against the 6 of neither, correlated by a half; cosine is 9 runs against 9.
    law = LargestT(np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]))
    margins = law.critical(0.05, dof) * np.sqrt(variance * np.array([2 / 6, 2 / 6, 2 / 9]))
    assert [e.high - e.estimate for e in effects.rows] == pytest.approx(margins.tolist(), rel=1e-3)


def test_an_entry_of_two_tricks_is_one_level():
    factors = ["mixup+ema", "cosine"]
    effects = factorial_effects(runs(subsets(factors), lambda on, s: s + 2.0 * ("mixup+ema" in on)), factors)
    assert {e.tricks: e.estimate for e in effects.rows} == pytest.approx(
        {("mixup+ema",): 2.0, ("cosine",): 0.0, ("mixup+ema", "cosine"): 0.0}, abs=1e-9
    )
    assert {e.aliased_with for e in effects.rows} == {()}


def test_a_missing_run_leaves_effects_that_add_up_exact():
    scores = runs(subsets(TRICKS), additive)
    del scores[5]
    found = main_effects(scores, TRICKS)
    assert [effect.estimate for effect in found.rows] == pytest.approx(list(GAIN.values()), abs=1e-9)
    draws = np.random.default_rng(0).normal(size=31)
    rest = [(on, seed, score + draw) for (on, seed, score), draw in zip(scores, draws, strict=True)]
    assert factorial_effects(rest, TRICKS).dof == pytest.approx(14)


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
    assert factorial_effects([(frozenset(), 0, 76.0), (frozenset(), 1, 76.5)], []).rows == ()


def test_no_runs_are_refused():
    with pytest.raises(UserError, match="no runs"):
        factorial_effects([], TRICKS)


@given(st.sets(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=1))
def test_any_part_of_a_design_has_its_table(part):
    sets = subsets(TRICKS)
    found = factorial_effects([(sets[arm], seed, float(arm * 7 % 5 + seed)) for arm, seed in sorted(part)], TRICKS)
    named = [effect.tricks for effect in found.rows] + [a.tricks for e in found.rows for a in e.aliased_with]
    assert {(trick,) for trick in TRICKS} <= set(named)


def test_the_first_arms_of_a_fraction_have_a_table_without_an_effect():
    tricks = list("abcdefgh")
    found = factorial_effects(runs([frozenset(), frozenset("dfgh"), frozenset("cegh")], noise(0), range(3)), tricks)
    assert found.noise is None
    assert {effect.estimate for effect in found.rows} == {None}
