"""Means that repeat, and means that do not: by hand, by another route, and simulated."""

import numpy as np
import pytest
from scipy import stats

from bagoftricks.rng import Key
from bagoftricks.statistics.replication import FAILS, UNKNOWN, Repeat, corrected, repeat_of, repeat_verdict


def test_the_interval_is_as_computed_by_hand():
    # both spread by 1 around 2 and 5: s = 1 with 4 degrees of freedom; error = sqrt(2 / 3); t = 2.776
    found = repeat_of([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert (found.n_there, found.n_here, found.difference) == (3, 3, 3.0)
    assert (found.low, found.high) == pytest.approx((3 - 2.776 * 0.8165, 3 + 2.776 * 0.8165), abs=2e-3)
    assert found.p == pytest.approx(stats.ttest_ind([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]).pvalue)
    assert found.most == found.high


def test_one_value_here_is_judged_by_the_prediction_interval_from_there():
    there = np.array([70.0, 71.0, 73.0, 74.0])
    found = repeat_of(there, [75.0])
    half = stats.t.ppf(0.975, 3) * there.std(ddof=1) * np.sqrt(1 + 1 / 4)
    assert (found.low, found.high) == pytest.approx((3.0 - half, 3.0 + half))


@pytest.mark.parametrize(
    ("there", "here", "verdict"),
    [
        ([70.0], [], "not run here"),
        ([], [70.0], "not run there"),
        ([70.0], [70.0], UNKNOWN),
        ([70.0, 70.0], [70.0, 70.0], UNKNOWN),
        ([70.0, 71.0, 72.0], [90.0, 91.0, 92.0], FAILS),
        ([1.0, 2.0, 3.0], [1.5, 2.5, 3.5], "repeats, to within 2.77 points"),
    ],
)
def test_a_comparison_in_words(there, here, verdict):
    (found,) = corrected([repeat_of(there, here)])
    assert repeat_verdict(found) == verdict


def test_an_effect_that_was_claimed_repeats_if_it_can_be_told_from_none():
    inside = Repeat(3, 3, difference=-0.2, low=-0.8, high=0.4, p=0.5, p_holm=0.5)
    assert repeat_verdict(inside, claimed=1.0) == "repeats, to within 0.80 points"
    assert repeat_verdict(inside, claimed=0.6) == UNKNOWN  # a change by -0.6, to nothing, is possible
    assert repeat_verdict(inside, claimed=-0.3) == UNKNOWN
    assert repeat_verdict(inside) == "repeats, to within 0.80 points"


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_few_true_repetitions_fail_and_most_shifted_ones_do(shared):
    draw = Key(3).fold("replication", int(10 * shared)).numpy()
    failed = {0.0: 0, 6.0: 0}
    studies, arms, seeds = 150, 4, 3
    for _ in range(studies):
        common = draw.normal(size=(arms, seeds))
        own = draw.normal(size=(2, arms, seeds))
        there, here = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        for shift in failed:
            moved = here + shift * (np.arange(arms) == 0)[:, None]
            found = corrected([repeat_of(a, b) for a, b in zip(there, moved, strict=True)])
            failed[shift] += any(repeat_verdict(each) == FAILS for each in found)
    assert failed[0.0] / studies < 0.1  # 0.05, and its error
    assert failed[6.0] / studies > 0.9
