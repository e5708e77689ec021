"""What seeds find: compared with statsmodels' power of a t-test, and with simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower, ttest_power

from bagoftricks.errors import UserError
from bagoftricks.statistics.max_t import largest_of_pairs
from bagoftricks.statistics.power import Power, one_test, sd_interval, standard_effect

ALONE = Power(one_test(), 1.3, 1.0)  # one comparison, tested by its own differences


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.05), (5, 0.05), (5, 0.01), (20, 0.05), (20, 0.01), (200, 0.05)])
def test_one_comparison_has_the_power_of_the_paired_t_test(n, alpha):
    found = Power(one_test(), 1.3, 1.0, alpha).sees(n)
    assert ttest_power(found / 1.3, n, alpha) == pytest.approx(0.8, abs=1e-4)


def test_two_seeds_see_what_simulated_pairs_find():
    differences = np.random.default_rng(0).normal(ALONE.sees(2), 1.3, (20_000, 2))
    assert np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.012)


@pytest.mark.parametrize("resolve", [0.3, 1.0, 4.0])
def test_the_seeds_are_the_fewest_whose_power_is_80_percent(resolve):
    n = ALONE.seeds(resolve)
    assert ttest_power(resolve / 1.3, n, 0.05) >= 0.8 - 1e-4
    assert n == 2 or ttest_power(resolve / 1.3, n - 1, 0.05) < 0.8
    exact = TTestPower().solve_power(resolve / 1.3, power=0.8, alpha=0.05)
    assert n == pytest.approx(math.ceil(exact), abs=1)


def test_noise_that_is_given_stands_in_for_that_of_the_study():
    assert ALONE.sees(5, 2.6) == pytest.approx(2 * ALONE.sees(5))
    assert ALONE.seeds(1.0, 1e-6) == 2
    assert ALONE.seeds(1.0, 1e6) is None


def test_a_limit_of_1000_seeds():
    sees = [ALONE.sees(n) for n in (1000, 1001)]
    assert ALONE.seeds(sees[0] * (1 + 1e-9)) == 1000
    assert ALONE.seeds(sees[1] * (1 + 1e-9)) is None


def test_one_seed_sees_nothing():
    with pytest.raises(UserError, match="n=1: a test over seeds needs two or more"):
        ALONE.sees(1)


def test_what_several_comparisons_see_together_is_what_simulated_studies_find():
    # Five arms against one at three seeds, one noise for all: 5 * 2 degrees of freedom, the first arm is better.
    pairs = tuple((arm, 0) for arm in range(1, 6))
    power = Power(largest_of_pairs(pairs), math.sqrt(2), 5.0)
    rng, studies = np.random.default_rng(0), 20_000
    runs = rng.normal(size=(studies, 6, 3)) + power.sees(3) * (np.arange(6) == 1)[:, None]
    left = runs - runs.mean(1, keepdims=True) - runs.mean(2, keepdims=True) + runs.mean((1, 2), keepdims=True)
    error = np.sqrt((left**2).sum((1, 2)) / 10 * 2 / 3)
    t = (runs[:, 1].mean(-1) - runs[:, 0].mean(-1)) / error
    assert np.mean(t > 2.99) == pytest.approx(0.8, abs=0.015)  # Dunnett's table; 4 standard errors
    assert power.sees(3) > Power(one_test(), math.sqrt(2), 5.0).sees(3)


def test_the_range_of_seeds_follows_the_interval_of_the_noise():
    power = Power(one_test(), 1.0, 3.0)
    low, high = power.seeds_range(0.5, 4)  # 9 degrees of freedom
    edges = math.sqrt(9 / stats.chi2.ppf(0.9, 9)), math.sqrt(9 / stats.chi2.ppf(0.1, 9))
    assert (low, high) == (power.seeds(0.5, edges[0]), power.seeds(0.5, edges[1]))
    assert low < power.seeds(0.5) < high


def test_the_interval_of_a_standard_deviation_covers_it():
    # By hand: chi-squared with 2 degrees of freedom is an exponential: quantiles -2 log(1 - p).
    low, high = sd_interval(3.0, 2, 0.9)
    assert (low, high) == pytest.approx((3 / math.sqrt(-math.log(0.05)), 3 / math.sqrt(-math.log(0.95))))
    sds = np.random.default_rng(0).normal(size=(4000, 4)).std(1, ddof=1)
    covered = [low <= 1 <= high for low, high in (sd_interval(float(sd), 3, 0.8) for sd in sds)]
    assert np.mean(covered) == pytest.approx(0.8, abs=0.026)


def test_an_effect_needs_more_errors_with_fewer_degrees_of_freedom():
    found = [standard_effect(one_test(), dof, 0.05) for dof in (1, 2, 5, 1e9)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.95996 + 0.84162, abs=1e-4)
