"""Whose noise a comparison is tested against: which is chosen, and each of the three compared with another route."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from bagoftricks.statistics.layout import Layout, chance
from bagoftricks.statistics.noise import MODERATED, OWN, SHARED, pair_tests, prior_variance
from bagoftricks.statistics.paired import compare

STAR = [(f"arm{arm}", "arm0") for arm in range(1, 31)]


def by_seed(values):
    return {
        f"arm{arm}": {seed: float(v) for seed, v in enumerate(row) if np.isfinite(v)} for arm, row in enumerate(values)
    }


def run_tests(values, pairs=None, alpha=0.05):
    """Tests of the arms (arms, seeds; nan where there is no run) against the first."""
    values = np.asarray(values, dtype=float)
    pairs = STAR[: len(values) - 1] if pairs is None else pairs
    at = {f"arm{arm}": row for arm, row in enumerate(values)}
    apart = {pair: at[pair[0]] - at[pair[1]] for pair in pairs}
    return pair_tests(by_seed(values), {pair: d[np.isfinite(d)] for pair, d in apart.items()}, alpha)


def equal(arms=6, seeds=4, seed=0):
    return np.random.default_rng(seed).normal(size=(arms, seeds))


def unequal(arms=6, seeds=5, factor=20.0, seed=0):
    return equal(arms, seeds, seed) * np.where(np.arange(arms) == arms - 1, factor, 1.0)[:, None]


def test_arms_of_one_noise_share_it():
    values = equal()
    found = run_tests(values)
    assert {test.noise for test in found.values()} == {SHARED}
    layout = Layout(((True,) * 4,) * 6, tuple((arm, 0) for arm in range(1, 6)))
    law, variances = chance(layout), layout.variances(values)[0]
    for arm, (test, variance) in enumerate(zip(found.values(), variances, strict=True), start=1):
        estimate = values[arm].mean() - values[0].mean()
        assert (test.estimate, test.n) == (pytest.approx(estimate), 4)
        assert test.margin == pytest.approx(law.critical(0.05) * math.sqrt(variance))
        assert test.p_adjusted == law.p_value(estimate / math.sqrt(variance))
        assert test.power.sd == pytest.approx(math.sqrt(variance * 4))
        assert test.power.dof == pytest.approx(law.dof / 3)


def test_arms_of_no_pair_tell_of_the_noise_as_well():
    values = equal()
    few, all_arms = run_tests(values[:3], STAR[:1]), run_tests(values, STAR[:1])
    assert all_arms[STAR[0]].power.dof > few[STAR[0]].power.dof


def test_arms_of_clearly_different_noise_do_not_share_it():
    values = unequal()
    found = list(run_tests(values).values())
    assert {test.noise for test in found} == {MODERATED}
    differences = values[1:] - values[0]
    variances = differences.var(axis=1, ddof=1)
    prior, typical = prior_variance(variances, np.full(5, 4))
    borrowed = min(prior, 8)  # twice its own degrees of freedom: far from 20 - 4
    for test, of, variance in zip(found, differences, variances, strict=True):
        moderated = (borrowed * typical + 4 * variance) / (borrowed + 4)
        error, dof = math.sqrt(moderated / 5), 4 + borrowed
        assert test.estimate == pytest.approx(of.mean())
        assert test.p_adjusted == pytest.approx(min(1, 5 * 2 * stats.t.sf(abs(of.mean()) / error, dof)))
        assert test.margin == pytest.approx(error * stats.t.isf(0.005, dof))
    assert found[-1].margin > 2 * max(test.margin for test in found[:-1])


def test_a_moderated_variance_borrows_at_most_twice_its_own_degrees_of_freedom_and_those_of_the_layout():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(20, 3)) * np.where(np.arange(20) == 0, 30.0, 1.0)[:, None]  # a noisy baseline
    dofs = {round(test.power.dof * 2, 6) for test in run_tests(values).values()}
    assert dofs == {2 + 4}
    three = rng.normal(size=(4, 3)) * np.array([90.0, 1.0, 1.0, 1.0])[:, None]
    assert max(test.power.dof * 2 for test in run_tests(three).values()) <= 6


def test_a_moderated_variance_has_no_more_degrees_of_freedom_than_the_layout():
    # Three arms x 12 seeds have 22, one difference has 11; all pairs hold the noisy arm, so their variances are alike.
    values = unequal(3, seeds=12, factor=100.0)
    tests = run_tests(values, [("arm2", "arm0"), ("arm2", "arm1"), ("arm0", "arm2")])
    assert {(test.noise, round(test.power.dof * 11, 6)) for test in tests.values()} == {(MODERATED, 22)}


@pytest.mark.parametrize("arms", [2, 3])
def test_few_comparisons_of_unequal_noise_are_paired_t_tests(arms):
    values = unequal(arms, seeds=12, factor=100.0)
    found = run_tests(values)
    assert {test.noise for test in found.values()} == {OWN}
    for test, arm in zip(found.values(), values[1:], strict=True):
        expected = stats.ttest_rel(arm, values[0])
        assert test.p_adjusted == pytest.approx(min(1, (arms - 1) * expected.pvalue))
        interval = expected.confidence_interval(1 - 0.05 / (arms - 1))
        assert (test.estimate - test.margin, test.estimate + test.margin) == pytest.approx(tuple(interval))


def test_equal_differences_have_no_test_of_their_own_but_one_among_arms_that_share_their_noise():
    values = np.array([[0.0, 5.0], [1.0, 6.0]])
    assert run_tests(values) == {}
    among = np.vstack([values, np.random.default_rng(0).normal(size=(4, 2)) + values[0]])
    assert run_tests(among)[STAR[0]].noise == SHARED


def test_scores_that_add_up_exactly_leave_nothing_to_test_against():
    values = np.array([[0.1, 0.7, 1.9], [1.1, 1.7, 2.9], [0.3, 0.9, 2.1], [5.1, 5.7, 6.9]])
    assert all(test.noise != SHARED for test in run_tests(values).values())


def test_the_prior_of_variances_solved_by_hand():
    # Two degrees of freedom each: digamma(1) and trigamma(1) = pi^2/6 on both sides, if the logs vary by pi^2/3.
    spread = math.pi / math.sqrt(3)
    prior, typical = prior_variance(np.exp([-spread, 0.0, spread]) * 7, np.full(3, 2))
    assert (prior, typical) == (pytest.approx(2.0), pytest.approx(7.0))


def test_variances_that_vary_less_than_estimates_of_one_do_are_taken_for_one():
    prior, typical = prior_variance(np.full(5, 3.0), np.full(5, 4))
    assert prior == math.inf
    assert typical == pytest.approx(3.0 / math.exp(special.digamma(2) - math.log(2)))


@pytest.mark.parametrize("dofs", [np.full(20_000, 3), np.tile([2, 4], 10_000)])
def test_the_prior_of_simulated_variances_is_found(dofs):
    rng = np.random.default_rng(0)
    truth = 2.0 * 6 / rng.chisquare(6, len(dofs))  # 6 degrees of freedom around 2
    prior, typical = prior_variance(truth * rng.chisquare(dofs) / dofs, dofs)
    assert prior == pytest.approx(6, rel=0.1)
    assert typical == pytest.approx(2.0, rel=0.03)


def studies():
    """Studies of 2 to 6 arms and 2 to 6 seeds: any noise, any missing runs, an effect or none."""
    return st.tuples(
        *(st.integers(2, 6), st.integers(2, 6), st.integers(0, 10**6)),
        *(st.sampled_from([1.0, 3.0, 30.0]), st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 2.0, 6.0])),
    )


def study(arms, seeds, seed, factor, missing, effect):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(arms, seeds))
    values[-1] = values[-1] * factor + effect
    values[rng.random(values.shape) < missing] = np.nan
    return values


def shared_pairs(values):
    return [pair for pair, arm in zip(STAR, values[1:], strict=False) if np.isfinite(arm - values[0]).sum() > 1]


@settings(max_examples=60, deadline=None)
@given(studies(), st.sampled_from([0.05, 0.01]))
def test_an_interval_leaves_out_0_exactly_where_its_p_is_at_most_alpha(drawn, alpha):
    values = study(*drawn)
    for test in run_tests(values, shared_pairs(values), alpha).values():
        assert 0 <= test.p_adjusted <= 1
        assert (abs(test.estimate) > test.margin) == (test.p_adjusted <= alpha)


@settings(max_examples=25, deadline=None)
@given(studies())
def test_what_a_seed_does_to_all_arms_cancels_and_scaling_scales(drawn):
    values = study(*drawn)
    pairs, shift = shared_pairs(values), np.arange(values.shape[1]) * 5.0
    before = run_tests(values, pairs)
    for changed, scale in ((values + shift, 1.0), (values * 3, 3.0)):
        after = run_tests(changed, pairs)
        assert after.keys() == before.keys()
        for pair, test in after.items():
            assert test.noise == before[pair].noise
            assert test.p_adjusted == pytest.approx(before[pair].p_adjusted, abs=1e-4)
            expected = scale * before[pair].estimate, scale * before[pair].margin
            assert (test.estimate, test.margin) == pytest.approx(expected, rel=1e-6)


def test_moving_an_arm_moves_its_estimate_alone():
    for values in (equal(), unequal()):
        moved = values + np.array([0, 0, 5.0, 0, 0, 0])[:, None]
        for pair, test in run_tests(moved).items():
            before = run_tests(values)[pair]
            assert test.estimate == pytest.approx(before.estimate + 5 * (pair[0] == "arm2"))
            assert test.margin == pytest.approx(before.margin)


@pytest.mark.parametrize("arms", [("cosine", "mixup"), ("cosine", "mixup", "other")])
def test_one_collapsed_run_does_not_drown_a_difference_that_every_seed_has(arms):
    scores = {
        "baseline": {0: 70.0, 1: 71.0, 2: 72.0},
        "cosine": {0: 75.0, 1: 76.1, 2: 77.2},
        "mixup": {0: 9.5, 1: 72.0, 2: 71.0},
        "other": {0: 71.5, 1: 72.1, 2: 72.5},
    }
    found = {c.label: c for c in compare({k: scores[k] for k in ("baseline", *arms)}, [(a, "baseline") for a in arms])}
    assert found["cosine"].verdict == "helps"
    assert found["cosine"].noise != "shared"
    assert found["mixup"].verdict.startswith("undecided")


@pytest.mark.filterwarnings("error")
def test_seeds_that_tie_in_all_arms_are_told_without_a_warning():
    scores = {label: {seed: 50.0 + shift + seed for seed in range(3)} for shift, label in enumerate("abc")}
    found = compare(scores, [("b", "a"), ("c", "a")])
    assert all(c.verdict.startswith("not testable: all 3 differences are equal") for c in found)
