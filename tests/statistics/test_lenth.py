"""Lenth's pseudo standard error by hand, and critical values near the printed ones."""

import numpy as np
import pytest

from bagoftricks.statistics.lenth import lenth_critical, lenth_p_value, pseudo_error


def test_the_pseudo_error_by_hand():
    # Median of the sizes 3, so 4.5; what is below 11.25 has the median 2.5: 3.75.
    assert pseudo_error(np.array([1.0, -2.0, 3.0, 4.0, -20.0])) == pytest.approx(3.75)
    # Nothing is far out: 1.5 medians.
    assert pseudo_error(np.array([1.0, -2.0, 3.0])) == pytest.approx(3.0)
    both = np.array([[1.0, -2.0, 3.0, 4.0, -20.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    assert pseudo_error(both) == pytest.approx([3.75, 3.0])


def test_few_effects_of_many_leave_the_error_nearly_as_it_is():
    noise = np.random.default_rng(0).normal(size=(2000, 31))
    active = noise + 100 * (np.arange(31) < 4)
    assert np.median(pseudo_error(noise)) == pytest.approx(1.0, abs=0.06)
    assert np.median(pseudo_error(active)) == pytest.approx(1.1, abs=0.1)


@pytest.mark.parametrize(("effects", "printed"), [(7, 4.87), (15, 4.24)])
def test_critical_values_over_all_effects_are_near_the_printed_ones(effects, printed):
    # Ye & Hamada (2000), experiment-wise error rate of 5 %.
    assert lenth_critical(0.05, effects) == pytest.approx(printed, abs=0.12)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_beyond_the_critical_value_p_is_at_most_alpha(alpha):
    critical = lenth_critical(alpha, 9)
    assert lenth_p_value(critical, 9) > alpha >= lenth_p_value(critical * (1 + 1e-12), 9)
    assert lenth_p_value(0.0, 9) == 1.0
