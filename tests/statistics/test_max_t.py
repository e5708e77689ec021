"""The law of the largest |t|: printed tables, scipy's Dunnett test, and limits."""

import numpy as np
import pytest
from scipy import stats

from bagoftricks.statistics.max_t import LargestT, largest_of, largest_of_pairs, pairs_correlation


def against_first(arms):
    return largest_of_pairs(tuple((arm, 0) for arm in range(1, arms + 1)))


@pytest.mark.parametrize(
    ("comparisons", "dof", "printed"),
    [(1, 10, 2.23), (2, 10, 2.57), (5, 10, 2.99), (9, 10, 3.24), (2, 5, 3.03), (5, 20, 2.73), (5, 1e9, 2.51)],
)
def test_critical_values_are_those_of_dunnetts_table(comparisons, dof, printed):
    # Two-sided, 5 %, Dunnett (1964), table 2.
    assert against_first(comparisons).critical(0.05, dof) == pytest.approx(printed, abs=0.015)


def test_p_values_of_several_arms_against_one_are_those_of_dunnetts_test():
    rng = np.random.default_rng(0)
    control, *arms = rng.normal(size=(5, 4)) + np.array([0, 0.5, 1.0, 2.0, 3.5])[:, None]
    expected = stats.dunnett(*arms, control=control, rng=np.random.default_rng(1))
    found = [against_first(4).p_value(t, 15) for t in expected.statistic]
    assert found == pytest.approx(expected.pvalue.tolist(), abs=2e-3)
    margin = expected.confidence_interval(0.95).high - (np.mean(arms, 1) - control.mean())
    error = np.sqrt(np.mean([arm.var(ddof=1) for arm in (control, *arms)]) * 2 / 4)
    assert against_first(4).critical(0.05, 15) * error == pytest.approx(margin[0], rel=5e-3)


def test_one_test_is_students_and_a_repeated_one_still_is():
    for law in (LargestT(np.eye(1)), LargestT(np.ones((3, 3)))):
        for t, dof in ((0.3, 2), (2.0, 5), (-2.0, 5), (9.0, 3), (40.0, 8)):
            assert law.p_value(t, dof) == pytest.approx(2 * stats.t.sf(abs(t), dof), rel=1e-6)
        assert law.critical(0.05, 7) == pytest.approx(stats.t.isf(0.025, 7))


def test_independent_tests_with_known_noise_multiply():
    law = LargestT(np.eye(4))
    for t in (1.5, 2.5, 3.5):
        assert law.p_value(t, 1e7) == pytest.approx(1 - (1 - 2 * stats.norm.sf(t)) ** 4, rel=0.03)


def test_far_out_the_p_value_is_that_of_bonferroni_and_never_beyond_it():
    law, dof = against_first(5), 10
    far = [(law.p_value(t, dof), 5 * 2 * stats.t.sf(t, dof)) for t in (3.0, 8.0, 20.0, 60.0)]
    assert all(p <= most * (1 + 1e-9) for p, most in far)
    assert far[-1][0] / far[-1][1] == pytest.approx(1, abs=0.15)
    assert law.p_value(0.0, dof) == 1.0
    # Simulated directions alone would be 3 % beyond it here.
    assert LargestT(np.eye(4)).p_value(8.0, 200) / (4 * 2 * stats.t.sf(8.0, 200)) == pytest.approx(1)


@pytest.mark.parametrize("tests", [3, 150])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_critical_value_has_a_p_of_alpha(tests, alpha):
    law = against_first(tests)
    assert law.p_value(law.critical(alpha, 12), 12) == pytest.approx(alpha)


def test_two_comparisons_that_share_an_arm_are_correlated_by_a_half():
    # b - a, c - a, c - b, d - c: shared on the same side +, on opposite sides -, none 0.
    assert pairs_correlation([(1, 0), (2, 0), (2, 1), (3, 2)]) == pytest.approx(
        np.array([[1, 0.5, -0.5, 0], [0.5, 1, 0.5, -0.5], [-0.5, 0.5, 1, -0.5], [0, -0.5, -0.5, 1]])
    )


def test_one_law_stands_for_correlations_that_are_alike_but_for_rounding():
    signs = np.random.default_rng(0).choice([-1e-13, -1e-17, 1e-13], (4, 4))
    assert largest_of(np.eye(4) + signs) is largest_of(np.eye(4))
    assert largest_of(np.eye(4)) is not largest_of(np.eye(5))
    assert largest_of(np.eye(4)).critical(0.05, 9) == LargestT(np.eye(4)).critical(0.05, 9)
