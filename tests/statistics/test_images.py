"""Tests over images against facts by hand, enumeration of all signs, another library, and simulated truth."""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels

from bagoftricks.statistics.images import MixedError, image_error, mcnemar, mixed_error


def arms(alone: int, other_alone: int, both: int = 3, neither: int = 2):
    """Two arms of one seed: images that one alone, the other alone, both and neither got right."""
    counts = [alone, other_alone, both, neither]
    return np.repeat([True, False, True, False], counts), np.repeat([False, True, True, False], counts)


@pytest.mark.parametrize(
    ("alone", "other_alone", "p"),
    [
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
        (5, 0, 2 / 2**5),
        (0, 5, 2 / 2**5),
        (3, 3, 1.0),
        (1, 0, 1.0),
        (0, 0, 1.0),
        (1000, 900, 2 * sum(comb(1900, k) for k in range(901)) / 2**1900),
    ],
)
def test_one_seed_by_hand(alone, other_alone, p):
    assert mcnemar(*arms(alone, other_alone)) == pytest.approx(p, rel=1e-9)


def test_one_seed_is_the_exact_test_of_another_library():
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = rng.random((2, 60)) < rng.uniform(0.2, 0.9, (2, 1))
        table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
        expected = mcnemar_of_statsmodels(table, exact=True).pvalue
        assert mcnemar(first, second) == mcnemar(first[None], second[None]) == pytest.approx(expected, rel=1e-9)


def test_several_seeds_are_the_enumeration_of_all_signs():
    rng = np.random.default_rng(1)
    for seeds in (2, 3, 5):
        for _ in range(8):
            first, second = rng.random((2, seeds, 9)) < rng.uniform(0.2, 0.9, (2, 1, 1))
            by_image = first.sum(0).astype(int) - second.sum(0)
            sums = np.array([np.dot(by_image, signs) for signs in product((1, -1), repeat=9)])
            expected = np.mean(np.abs(sums) >= abs(by_image.sum()))
            assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
            assert mcnemar(second, first) == pytest.approx(expected, rel=1e-9)


def test_seeds_that_repeat_each_other_prove_no_more_than_one():
    first, second = arms(9, 1)
    assert mcnemar(np.tile(first, (4, 1)), np.tile(second, (4, 1))) == pytest.approx(mcnemar(first, second), rel=1e-9)


def test_ten_thousand_images_of_five_seeds_agree_with_the_normal_distribution():
    rng = np.random.default_rng(2)
    hard = rng.beta(8, 1, 10_000)
    first, second = rng.random((2, 5, 10_000)) < hard
    second[:, :90] = True
    by_image = first.sum(0).astype(int) - second.sum(0)
    z = abs(by_image.sum()) / np.sqrt((by_image**2).sum())
    assert 1 < z < 8
    assert mcnemar(first, second) == pytest.approx(2 * stats.norm.sf(z), rel=0.1)


def test_arms_that_are_alike_are_told_apart_as_seldom_as_promised():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(1500):
        hard = rng.beta(4, 1, 80)
        found.append(mcnemar(*(rng.random((2, 3, 80)) < hard)))
    shares = [np.mean(np.array(found) <= alpha) for alpha in (0.05, 0.2)]
    assert 0.03 < shares[0] < 0.062
    assert 0.15 < shares[1] < 0.23


def test_the_error_of_images_by_hand():
    # Of one seed: 3 of 4 right has the variance 1/4, so the mean of four has the error sqrt(1/16).
    assert image_error(np.array([True, True, True, False])) == pytest.approx(25)
    # Seeds that agree leave no noise to take off.
    assert image_error(np.array([[True, True, True, False]] * 3)) == pytest.approx(25)
    # Differences 1, 0, 0, -1: variance 2/3 over four images.
    first, second = np.array([True, True, False, False]), np.array([False, True, False, True])
    assert image_error(first, second) == pytest.approx(100 * np.sqrt(2 / 12))


def test_noise_of_the_seeds_is_not_taken_for_that_of_images():
    # Each image is right in one seed of two: the images do not differ at all.
    right = np.array([[True, False, True, False], [False, True, False, True]])
    assert image_error(right) == 0
    found = mixed_error(right)
    assert found == MixedError(images=0.0, seeds=0.0, dof=found.dof)
    # By hand, of two seeds and two images [[1, 1], [1, 0]]: mean squares 1/4, 1/4 and 1/4.
    assert mixed_error(np.array([[True, True], [True, False]])) == MixedError(0.0, pytest.approx(25), 1.0)


def test_a_spread_of_the_seeds_alone_is_that_of_their_means():
    right = np.repeat([[True], [False], [True]], 6, axis=1)
    found = mixed_error(right)
    assert found.images == 0
    assert found.seeds == found.total == pytest.approx(100 * np.std([1, 0, 1], ddof=1) / np.sqrt(3))
    assert found.dof == pytest.approx(2)


def test_seeds_without_a_spread_leave_the_images_alone():
    right = np.array([[True, True, True, False] * 25] * 3)
    found = mixed_error(right)
    assert (found.total, found.seeds) == (pytest.approx(image_error(right)), 0)
    assert found.dof == pytest.approx(99)


def test_the_error_of_images_is_that_of_simulated_test_sets():
    rng = np.random.default_rng(4)
    n, seeds = 400, 3
    found, found_of_difference = [], []
    for _ in range(400):
        easy, gain = rng.beta(3, 1, n), rng.beta(3, 1, n)
        first, second = rng.random((2, seeds, n)) < np.stack([easy, gain])[:, None]
        found.append(image_error(first) ** 2)
        found_of_difference.append(image_error(first, second) ** 2)
    variance = 1e4 * 3 / (4**2 * 5) / n  # of Beta(3, 1), over n images, in points
    assert np.mean(found) == pytest.approx(variance, rel=0.05)
    assert np.mean(found_of_difference) == pytest.approx(2 * variance, rel=0.05)


def test_the_mixed_error_is_that_of_simulated_seeds_and_images():
    rng = np.random.default_rng(5)
    n, seeds, truth = 150, 4, []
    found = []
    for _ in range(1500):
        images, networks = rng.normal(0.8, 1, n), rng.normal(0, 0.15, (seeds, 1))
        right = images + networks + rng.normal(0, 0.5, (seeds, n)) > 0
        truth.append(100 * right.mean())
        found.append(mixed_error(right))
    assert np.mean([each.total**2 for each in found]) == pytest.approx(np.var(truth), rel=0.1)
    expected = 100 * stats.norm.cdf(0.8 / np.sqrt(1 + 0.15**2 + 0.5**2))
    half = np.array([stats.t.ppf(0.975, each.dof) * each.total for each in found])
    assert 0.935 < np.mean(np.abs(np.array(truth) - expected) <= half) < 0.97


@pytest.mark.parametrize("shape", [(3, 1), (1, 1)])
def test_one_image_has_no_error(shape):
    with pytest.raises(ValueError, match="two of them or more"):
        image_error(np.ones(shape, bool))


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match=r"other seeds or images: \(2, 3\) and \(1, 3\)"):
        mcnemar(np.ones((2, 3), bool), np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="two of them or more"):
        mixed_error(np.ones((1, 3), bool))
