import numpy as np
import pytest
from scipy import stats

from bagoftricks.statistics import looks
from bagoftricks.statistics.layout import Layout
from bagoftricks.statistics.looks import comparisons_alpha, effects_alpha, is_decided
from bagoftricks.statistics.paired import compare
from tests.statistics.growing import grow

ONE = ((1, 0),)
FIVE = tuple((arm, 0) for arm in range(1, 6))


@pytest.mark.parametrize(
    ("number", "printed"), [(2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158)], ids=lambda value: str(value)
)
def test_with_known_noise_equally_spaced_looks_have_the_printed_constants(number, printed, monkeypatch):
    """Pocock (1977), Jennison & Turnbull (2000, table 2.1): z 2.178, 2.289, 2.361, 2.413 at 5 %, two-sided."""
    monkeypatch.setattr(looks, "FEWEST_SIMULATED", 40_000)
    found = effects_alpha.__wrapped__(51, 1, tuple(range(1, number + 1)), 0.05)  # noise of 50 degrees of freedom
    assert found == pytest.approx(printed, rel=0.05)


def test_one_comparison_spends_its_error_as_an_own_simulation_says():
    """0.0145 at 3, 5, 10 and 20 seeds: by another generator, with the p-values of Student's t."""
    numbers = (3, 5, 10, 20)
    values = np.random.Generator(np.random.MT19937(1)).standard_normal((100_000, 20), dtype=np.float32)
    smallest = np.min([stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue for n in numbers], axis=0)
    found = comparisons_alpha(2, ONE, numbers, 0.05)
    assert found == pytest.approx(0.0145, rel=0.04)
    assert np.mean(smallest <= found) == pytest.approx(0.05, abs=0.0025)
    assert np.mean(smallest <= 0.05) > 0.12  # what looking costs that spends nothing


def test_more_looks_cost_more_and_one_costs_nothing(monkeypatch):
    monkeypatch.setattr(looks, "MOST_SIMULATED", 15_000)
    comparing, effects = comparisons_alpha.__wrapped__, effects_alpha.__wrapped__
    for alpha_of in (lambda *at: comparing(6, FIVE, at, 0.05), lambda *at: effects(8, 7, at, 0.05)):
        assert alpha_of(3) == 0.05
        assert 0.05 > alpha_of(3, 5) > alpha_of(3, 5, 8) > alpha_of(3, 5, 8, 12, 20) > 0.01
        assert alpha_of(3, 20) < alpha_of(3, 4)  # looks that share fewer seeds
    assert comparisons_alpha(6, FIVE, (1, 3), 0.05) == 0.05  # one seed has no test of differences
    assert comparisons_alpha(6, (), (3, 5), 0.05) == 0.05


@pytest.mark.parametrize(("arms", "effects"), [(8, 7), (16, 4), (4, 3)])
def test_effects_of_one_seed_are_a_look(arms, effects):
    """By Lenth's method, or by what the effects leave; with too few effects there is no test of one seed."""
    found = effects_alpha(arms, effects, (1, 3), 0.05)
    assert found == pytest.approx(0.05 if arms == 4 else 0.0265, rel=0.08)


def test_sums_over_seeds_give_the_layouts_own_statistic():
    values = np.random.default_rng(2).normal(size=(5, 6, 4)) + np.arange(6)[:, None]
    layout = Layout(((True,) * 4,) * 6, FIVE)
    t = np.abs(layout.differences(values)) / np.sqrt(layout.variances(values)[0])
    assert looks._comparisons_judge(layout)(values) == pytest.approx(t.max(1))


def test_decided_is_what_more_seeds_would_not_change():
    scores = {"baseline": {0: 70.0, 1: 70.2, 2: 69.9}, "other": {0: 70.1, 1: 70.1, 2: 70.05}}

    def verdict(shift, resolve):
        arms = scores | {"other": {seed: value + shift for seed, value in scores["other"].items()}}
        return compare(arms, [("other", "baseline")], resolve=resolve)[0].verdict

    assert is_decided(verdict(9, 0.5))
    assert is_decided(verdict(-9, 0.5))
    assert is_decided(verdict(0, 1.0))
    assert not is_decided(verdict(0, 0.1))
    assert not is_decided("one seed: no interval, no conclusion")
    assert not is_decided("identical")


def test_a_study_that_stops_arms_as_they_are_decided_keeps_its_error():
    """Four arms at 3, 5 and 8 seeds; without spent error, false verdicts are in more than a tenth of studies."""
    spent = grow(arms=4, looks=(3, 5, 8), studies=1500, resolve=2.0)
    assert spent.claimed <= 0.05 + 3 * 0.0056
    assert spent.covered >= 0.95 - 3 * 0.0056
    assert spent.seeds < 7.6  # some arms stop at "no effect"
    assert grow(arms=4, looks=(3, 5, 8), studies=1500, resolve=2.0, alpha=0.05).claimed > 0.08


@pytest.mark.parametrize(("effect", "power", "seeds"), [(1, 0.957, 12.9), (2, 1.0, 6.4), (4, 1.0, 4.0)])
def test_a_large_effect_ends_the_study_early(effect, power, seeds):
    """One comparison at 3, 5, 10 and 20 seeds; effects in standard deviations of the paired difference."""
    found = grow(arms=2, looks=(3, 5, 10, 20), studies=4000, effects=(effect,), sd=0.5**0.5, resolve=1e-9)
    assert found.found == pytest.approx(power, abs=0.02)
    assert found.seeds == pytest.approx(seeds, abs=0.3)
