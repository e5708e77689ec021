"""Comparisons and verdicts of one table: which intervals, which words, and what cannot be tested."""

import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bagoftricks.errors import UserError
from bagoftricks.statistics.paired import (
    Comparison,
    Interval,
    Summary,
    compare,
    holm,
    seeds_advice,
    summarise,
    two_digits,
)

# Top-1 % by seed; the seeds are out of order on purpose.
SCORES = {
    "baseline": {0: 76.1, 1: 76.5, 2: 75.9, 3: 76.3, 4: 76.0},
    "mixup": {4: 77.0, 3: 77.4, 2: 76.8, 1: 77.3, 0: 77.2},
    "cosine": {0: 76.3, 1: 76.4, 2: 76.2, 3: 76.2, 4: 76.3},
    "ema": {2: 75.5, 3: 75.7, 7: 90.0},
}
PAIRS = [("mixup", "baseline"), ("cosine", "baseline"), ("ema", "baseline")]

# Twelve real runs of three epochs on 4,000 images of CIFAR-10.
REAL = {
    "baseline": {0: 36.65, 1: 35.20, 2: 36.83},
    "cosine": {0: 42.30, 1: 39.30, 2: 39.70},
    "label smoothing": {0: 37.15, 1: 36.95, 2: 35.20},
    "mixup": {0: 34.73, 1: 37.25, 2: 34.17},
}
REAL_PAIRS = [(arm, "baseline") for arm in list(REAL)[1:]]


def by_seed(values):
    return {seed: float(value) for seed, value in enumerate(values)}


def one(arm, other, **options):
    """The comparison of two arms given as lists of values, seeds 0, 1, ..."""
    return compare({"arm": by_seed(arm), "other": by_seed(other)}, [("arm", "other")], **options)[0]


def test_a_mean_has_a_t_interval():
    values = [76.1, 76.5, 75.9]
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(values), scale=stats.sem(values))
    assert astuple(summarise(values)) == pytest.approx((3, np.mean(values), low, high))
    # By hand: s = sqrt(2), t(1 degree of freedom, 97.5 %) = 12.7062, so 2 ± 12.7062.
    assert astuple(summarise([1.0, 3.0])) == pytest.approx((2, 2.0, -10.7062, 14.7062))
    assert astuple(summarise([1.0, 3.0], 0.5)) == pytest.approx((2, 2.0, 1.0, 3.0))  # t(1, 75 %) = 1


@pytest.mark.parametrize("values", [[76.1], [76.1, 76.1, 76.1]])
def test_without_spread_a_mean_has_no_interval(values):
    assert summarise(values) == Summary(len(values), float(np.mean(values)), None, None)


def test_one_comparison_of_two_arms_is_the_paired_t_test_of_scipy():
    arm, other = SCORES["mixup"], SCORES["baseline"]
    expected = stats.ttest_rel([arm[seed] for seed in range(5)], [other[seed] for seed in range(5)])
    interval = expected.confidence_interval(0.95)
    (found,) = compare({"mixup": arm, "baseline": other}, PAIRS[:1])
    assert (found.label, found.against, found.n, found.noise) == ("mixup", "baseline", 5, "own")
    assert found.difference == pytest.approx(1.14 - 0.16)
    assert (found.low, found.high, found.p_adjusted) == pytest.approx((interval.low, interval.high, expected.pvalue))


def test_twelve_real_runs_show_what_they_hold():
    cosine, smoothing, mixup = compare(REAL, REAL_PAIRS)
    assert (cosine.verdict, cosine.noise) == ("helps", "shared")
    assert cosine.difference == pytest.approx((5.65 + 4.10 + 2.87) / 3)
    assert 0 < cosine.low < 1
    assert cosine.p_adjusted == pytest.approx(0.03, abs=0.003)
    # Close to one variance for all and the largest of three |t|: two-way residuals, 6 degrees of freedom.
    values = np.array([list(of.values()) for of in REAL.values()])
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    error = np.sqrt((left**2).sum() / 6 * 2 / 3)
    assert 2 * stats.t.sf(cosine.difference / error, 6) == pytest.approx(0.0099, abs=1e-4)
    assert [found.verdict.split(":")[0] for found in (smoothing, mixup)] == ["undecided"] * 2
    assert {found.stands for found in (smoothing, mixup)} == {False}


def test_differences_and_seeds_are_those_that_both_arms_have():
    found = compare(SCORES, PAIRS)
    assert [(each.label, each.n) for each in found] == [("mixup", 5), ("cosine", 5), ("ema", 2)]
    assert [each.difference for each in found] == pytest.approx([0.98, 0.12, -0.5])


def test_figures_have_two_digits_and_no_power_of_ten():
    assert [two_digits(value) for value in (189.4, 99.6, 9.04, 1.88, 0.0234)] == ["190", "100", "9", "1.9", "0.023"]


def test_holm_multiplies_the_smallest_by_all_and_passes_over_what_was_not_tested():
    assert holm([0.03, None, 0.01, 0.04]) == [pytest.approx(0.06), None, pytest.approx(0.03), pytest.approx(0.06)]
    assert holm([None]) == [None]


def test_a_verdict_among_many_needs_more_than_one_alone():
    arm, other = [1.0, 2.2, 3.1], [0.0, 1.0, 2.4]
    alone = one(arm, other)
    assert alone.p_adjusted == pytest.approx(0.0219, abs=1e-4)
    assert (alone.verdict, alone.stands) == ("helps", True)
    rng = np.random.default_rng(1)
    scores = {"arm": by_seed(arm), "other": by_seed(other)}
    scores |= {f"null{index}": by_seed(rng.normal(size=3)) for index in range(9)}
    among = compare(scores, [("arm", "other"), *((f"null{index}", "other") for index in range(9))])[0]
    assert among.p_adjusted > 0.05
    assert among.low < 0 < among.high
    assert (among.verdict.split(":")[0], among.stands) == ("undecided", False)


def test_higher_or_lower_is_better():
    assert [found.verdict for found in compare(SCORES, PAIRS[:1])] == ["helps"]
    assert [found.verdict for found in compare(SCORES, PAIRS[:1], higher_is_better=False)] == ["hurts"]
    reverse = compare(SCORES, [("baseline", "mixup")])[0]
    assert (reverse.verdict, reverse.difference < 0) == ("hurts", True)


def test_alpha_sets_the_interval_and_the_verdict():
    arm, other = [1.0, 2.2, 3.1], [0.0, 1.0, 2.4]
    interval = stats.ttest_rel(arm, other).confidence_interval(0.99)
    strict = one(arm, other, alpha=0.01)
    assert (strict.low, strict.high) == pytest.approx((interval.low, interval.high))
    assert strict.verdict.startswith("undecided")


def test_seeds_are_paired_by_number_and_not_by_position():
    shuffled = {label: dict(sorted(values.items(), key=lambda item: -item[1])) for label, values in SCORES.items()}
    assert compare(shuffled, PAIRS) == compare(SCORES, PAIRS)


def test_what_a_seed_does_to_all_arms_cancels():
    offset = {seed: 10.0 * seed for seed in range(8)}
    moved = {label: {seed: v + offset[seed] for seed, v in values.items()} for label, values in SCORES.items()}
    for found, before in zip(compare(moved, PAIRS), compare(SCORES, PAIRS), strict=True):
        assert (found.difference, found.low, found.high) == pytest.approx(
            (before.difference, before.low, before.high), rel=1e-9
        )
        assert (found.verdict, found.noise) == (before.verdict, before.noise)


def test_one_shared_seed_allows_no_conclusion():
    found = compare({"arm": {0: 80.0, 1: 81.0}, "other": {1: 70.0, 2: 71.0}}, [("arm", "other")])[0]
    expected = Comparison("arm", "other", 1, 11.0, None, None, None, "one seed: no interval, no conclusion")
    assert found == expected
    equal = one([80.0], [80.0])
    assert (equal.difference, equal.p_adjusted, equal.verdict) == (0.0, None, found.verdict)


def test_no_shared_seed_gives_no_difference():
    found = compare({"arm": {0: 80.0}, "other": {1: 70.0}}, [("arm", "other")])[0]
    assert found == Comparison("arm", "other", 0, None, None, None, None, "no shared seed: no difference")


def test_equal_scores_are_identical():
    found = one([76.1, 76.5, 75.9], [76.1, 76.5, 75.9])
    assert found == Comparison("arm", "other", 3, 0.0, None, None, 1.0, "identical")
    assert one([0.1 + 0.2, 0.5], [0.3, 0.5]).verdict == "identical"  # but for rounding: 0.1 + 0.2 > 0.3


def test_a_constant_difference_of_two_arms_proves_nothing():
    assert 70.1 - 70.0 != 0.3 - 0.2  # in double precision the differences are not equal
    found = one([70.1, 71.1, 0.3], [70.0, 71.0, 0.2])
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high, found.p_adjusted) == (None,) * 3
    assert found.verdict == "not testable: all 3 differences are equal, no spread to judge by"


def test_what_cannot_be_tested_is_not_corrected_for():
    scores = {**SCORES, "identical": SCORES["baseline"], "single": {0: 70.0}}
    pairs = [("identical", "baseline"), ("single", "baseline"), ("cosine", "baseline")]
    only = {label: scores[label] for label in ("baseline", "cosine", "identical")}
    assert compare({**only, "single": {0: 70.0}}, pairs)[-1] == compare(only, pairs[-1:])[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match=f"arm 'mixup', seed 4 is {bad}"):
        compare({**SCORES, "mixup": {4: bad}}, PAIRS)
    with pytest.raises(ValueError, match=f"value 1 is {bad}"):
        summarise([1.0, bad])


def test_an_arm_without_scores_and_an_empty_mean_are_refused():
    with pytest.raises(UserError, match="'mixupp' is not among the arms that have scores; did you mean 'mixup'"):
        compare(SCORES, [("mixupp", "baseline")])
    with pytest.raises(UserError, match="no values"):
        summarise([])


WORDS = ("helps", "hurts")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(1.0, 0.9, 0.03), "helps"),
        (Interval(-1.0, 0.9, 0.05), "hurts"),
        (Interval(0.1, 0.3, 0.6), "no effect above 0.4 points either way"),
        (Interval(-0.1, 0.4, 0.6), "no effect above 0.5 points either way"),
        (Interval(0.02, 0.3421, 0.6), "no effect above 0.37 points either way"),  # never below the bound
        (Interval(0.1, 0.5, 0.6, 0.8), "undecided: sees 0.8 points"),
        (Interval(0.1, 0.5, 0.6), "undecided"),
        (Interval(0.4, 0.3, 0.01), "helps"),  # within the resolution, and above 0: that is said first
    ],
)
def test_verdicts(interval, verdict):
    assert interval.verdict(WORDS, 0.05, 0.5, "points") == verdict


def test_an_undecided_verdict_has_the_advice():
    found = Interval(0.1, 0.7, 0.6, 1.234).verdict(WORDS, 0.05, 0.5, "s", "4 to 9 seeds would see 0.5")
    assert found == "undecided: sees 1.2 s, 4 to 9 seeds would see 0.5"


@pytest.mark.parametrize(
    ("seeds", "words"),
    [((4, 9), "4 to 9 seeds"), ((4, 4), "4 seeds"), ((4, None), "4 to more than 1000 seeds"), ((None, None), None)],
)
def test_advice_in_words(seeds, words):
    assert seeds_advice(*seeds) == (words or "more than 1000 seeds")


def test_the_advice_of_a_comparison_is_in_its_verdict():
    _, smoothing, _ = compare(REAL, REAL_PAIRS, resolve=2.0, unit="%")
    assert smoothing.seeds_low < smoothing.seeds_high
    told = f"{smoothing.seeds_low} to {smoothing.seeds_high} seeds would see 2"
    assert smoothing.verdict == f"undecided: sees {smoothing.sees:.2g} %, {told}"
    less = compare(REAL, REAL_PAIRS, resolve=4.0)[1]
    assert less.seeds_high < smoothing.seeds_high
    wide = compare(REAL, REAL_PAIRS, resolve=6.0)[1]
    assert wide.verdict == "no effect above 3.7 points either way"


@settings(max_examples=40, deadline=None)
@given(
    *(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 5)),
    *(st.sampled_from([0.0, 1.0, 8.0]), st.sampled_from([1.0, 20.0])),
)
def test_a_verdict_stands_exactly_where_its_interval_leaves_out_0(seed, arms, seeds, effect, factor):
    values = np.random.default_rng(seed).normal(size=(arms, seeds))
    values[-1] = factor * values[-1] + effect
    scores = {f"arm{index}": by_seed(row) for index, row in enumerate(values)}
    for found in compare(scores, [(f"arm{index}", "arm0") for index in range(1, arms)]):
        assert found.stands == (found.low > 0 or found.high < 0) == (found.p_adjusted <= 0.05)
        assert not found.stands or found.verdict == ("helps" if found.difference > 0 else "hurts")


def test_importing_the_statistics_does_not_import_torch():
    code = "import sys, bagoftricks.statistics.effects; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
