"""The layout of arms x seeds, compared with least squares on indicator columns and with projections."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bagoftricks.statistics.layout import Layout, chance

FULL = Layout(((True,) * 3,) * 4, ((1, 0), (2, 0), (3, 0)))


def indicators(mask):
    """Columns of arms and seeds, a row per run."""
    arms, seeds = np.nonzero(mask)
    return np.hstack([np.eye(mask.shape[0])[arms], np.eye(mask.shape[1])[seeds]])


@st.composite
def layouts(draw):
    """Layouts with missing runs: each arm has a run, each comparison a shared seed."""
    arms, seeds = draw(st.integers(2, 7)), draw(st.integers(2, 6))
    mask = np.array(
        draw(st.lists(st.lists(st.booleans(), min_size=seeds, max_size=seeds), min_size=arms, max_size=arms))
    )
    assume(mask.any(1).all() and mask.any(0).all())
    pairs = tuple((i, j) for i in range(arms) for j in range(i) if (mask[i] & mask[j]).any())
    assume(pairs)
    return Layout(tuple(map(tuple, mask.tolist())), pairs)


def draw_values(layout, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, *layout.mask.shape)) * layout.mask


@given(layouts())
def test_residuals_are_those_of_least_squares_with_a_column_per_arm_and_per_seed(layout):
    values, seen = draw_values(layout, 2), layout.mask.astype(bool)
    columns = indicators(layout.mask)
    for study, found in zip(values, layout.residuals(values), strict=True):
        expected = study[seen] - columns @ np.linalg.lstsq(columns, study[seen], rcond=None)[0]
        assert found[seen] == pytest.approx(expected, abs=1e-9)
        assert (found[~seen] == 0).all()


@given(layouts())
def test_degrees_of_freedom_are_traces_of_the_residuals_projection(layout):
    columns = indicators(layout.mask)
    projection = np.eye(len(columns)) - columns @ np.linalg.pinv(columns)
    arms = np.nonzero(layout.mask)[0]
    expected = np.bincount(arms, weights=np.diag(projection), minlength=len(layout.seen))
    assert layout.arm_dof == pytest.approx(expected, abs=1e-9)
    assert layout.dof == pytest.approx(len(columns) - np.linalg.matrix_rank(columns), abs=1e-9)


def test_a_layout_without_gaps_has_arms_less_one_times_seeds_less_one_degrees_of_freedom():
    assert FULL.dof == pytest.approx(3 * 2)
    assert FULL.arm_dof == pytest.approx([1.5] * 4)


@given(layouts())
def test_differences_are_means_over_the_seeds_of_both(layout):
    (values,) = draw_values(layout, 1)
    for (first, second), found in zip(layout.pairs, layout.differences(values), strict=True):
        both = layout.mask[first].astype(bool) & layout.mask[second].astype(bool)
        assert found == pytest.approx((values[first] - values[second])[both].mean())


def test_the_variance_of_a_difference_by_hand():
    # Two arms of two seeds: residuals ±1 in all four runs, so 4 / 1 = 4 is the variance of a run, and of each arm.
    layout = Layout(((True, True), (True, True)), ((1, 0),))
    of_difference, own = layout.variances(np.array([[0.0, 4.0], [2.0, 2.0]]))
    assert own == pytest.approx([4.0, 4.0])
    assert of_difference == pytest.approx([(4.0 + 4.0) / 2])
    # So it is for two arms in general: the paired differences' own variance.
    values = np.array([[1.0, 2.2, 3.1], [0.0, 1.0, 2.4]])
    layout = Layout(((True,) * 3,) * 2, ((0, 1),))
    assert layout.variances(values)[0] == pytest.approx([(values[0] - values[1]).var(ddof=1) / 3])


def test_a_noisy_baseline_counts_in_its_comparisons_and_a_noisy_arm_less_so():
    quiet = np.random.default_rng(0).normal(size=(500, 6, 4))
    layout = Layout(((True,) * 4,) * 6, tuple((arm, 0) for arm in range(1, 6)))
    baseline, arm = quiet.copy(), quiet.copy()
    baseline[:, 0] *= 3
    arm[:, 5] *= 3
    mean = {name: layout.variances(v)[0].mean(0) for name, v in (("none", quiet), ("base", baseline), ("arm", arm))}
    # In truth 0.5; 2.5 with the noisy baseline: shared by six arms it would be (2 * 14 / 6) / 4 = 1.17.
    assert mean["none"] == pytest.approx(np.full(5, 0.5), rel=0.1)
    assert (mean["base"] > 1.6).all()
    assert mean["arm"][0] < mean["arm"][-1] < 2.5


def test_moving_arms_and_seeds_leaves_the_variances_as_they_are_and_scaling_scales_them():
    values = draw_values(FULL, 5)
    moved = values + np.arange(4.0)[:, None] * 7 + np.arange(3.0) * 5
    for found, before in zip(FULL.variances(moved), FULL.variances(values), strict=True):
        assert found == pytest.approx(before)
    assert FULL.variances(3 * values)[0] == pytest.approx(9 * FULL.variances(values)[0])
    own = FULL.variances(values)[1]
    assert FULL.inequality(9 * own) == pytest.approx(FULL.inequality(own))


def test_inequality_is_zero_for_equal_variances_and_that_of_bartlett():
    assert FULL.inequality(np.full(4, 2.0)) == pytest.approx(0.0, abs=1e-12)
    own = np.array([1.0, 2.0, 4.0, 1.0])  # the arms weigh alike
    assert FULL.inequality(own) == pytest.approx(np.log(own.mean()) - np.log(own).mean())
    # An arm that happens to be constant is no proof.
    assert FULL.inequality(np.array([0.0, 2.0, 4.0, 1.0])) < 1.5


def test_chance_of_two_arms_is_the_t_distribution():
    law = chance(Layout(((True,) * 6,) * 2, ((0, 1),)))
    assert law.dof == pytest.approx(5, rel=0.05)
    for t in (1.0, 2.0, 2.571, 4.0):
        assert law.p_value(t) == pytest.approx(2 * stats.t.sf(t, 5), abs=0.004)
        assert law.p_value(-t) == law.p_value(t)


@pytest.mark.parametrize("alpha", [0.05, 0.0145, 0.2])
def test_what_is_beyond_the_critical_value_and_no_more_has_a_p_of_alpha(alpha):
    law = chance(FULL)
    critical = law.critical(alpha)
    assert law.p_value(critical) > alpha >= law.p_value(np.nextafter(critical, 99, dtype=np.float32))
    assert law.p_value(critical) == pytest.approx(alpha, abs=1e-4)


@pytest.mark.parametrize("pairs", [((1, 0), (2, 0), (3, 0)), ((1, 0), (2, 1), (3, 2))])
def test_equality_is_refused_in_5_percent_of_layouts_of_equal_noise(pairs):
    layout = Layout(((True,) * 3, (True,) * 3, (True, True, False), (True,) * 3), pairs)
    values = draw_values(layout, 4000, seed=9)
    both = zip(layout.inequality(layout.variances(values)[1]), layout.inequality_of_differences(values), strict=True)
    refused = np.mean([chance(layout).equality(*of) < 0.05 for of in both])
    assert 0.025 < refused < 0.05 + 0.0035 * 4  # two tests that often agree, at half of 5 % each


def test_the_inequality_of_differences_is_bartlett_s_over_the_comparisons():
    values = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 4.0, 8.0]])  # differences from 0: variances 1 and 16
    layout = Layout(((True,) * 3,) * 3, ((1, 0), (2, 0)))
    assert layout.inequality_of_differences(values) == pytest.approx(np.log(8.5) - np.log(16) / 2)


@settings(max_examples=15)
@given(layouts())
def test_laws_of_layouts_with_gaps_are_finite(layout):
    assume(layout.dof >= 1)
    law = chance(layout)
    assert np.isfinite(law.largest).all()
    assert np.isfinite(law.inequality).all()
    assert 0 < law.dof <= layout.dof * 1.2


@pytest.mark.parametrize(("arms", "seeds"), [(36, 27), (38, 37)])  # where rounding leaves a singular matrix regular
def test_large_layouts_lose_nothing_to_rounding(arms, seeds):
    layout = Layout(((True,) * seeds,) * arms, ((1, 0),))
    assert layout.dof == (arms - 1) * (seeds - 1)
    assert np.abs(layout.residuals(draw_values(layout)).sum(0)).max() < 1e-9


def test_an_arm_that_shares_no_seed_is_taken_to_be_as_noisy_as_the_others():
    layout = Layout(((True, True, False, False), (True, True, False, False), (False, False, True, True)), ((1, 0),))
    of_difference, own = layout.variances(np.array([[0.0, 4.0, 0, 0], [2.0, 2.0, 0, 0], [0, 0, 9.0, -9.0]]))
    assert own == pytest.approx([4.0, 4.0, 4.0])
    assert of_difference == pytest.approx([4.0])


@given(layouts())
def test_the_degrees_of_freedom_are_runs_less_independent_columns(layout):
    assert layout.dof == layout.mask.sum() - np.linalg.matrix_rank(indicators(layout.mask))
