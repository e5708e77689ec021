from itertools import pairwise

import pytest

from bagoftricks.recipe.compose import compose
from tests.helpers import create_all, make_task

# Batches of 1024 on ImageNet for 120 epochs: 1251 steps an epoch, 6255 of warm-up, 143,881 of decay.
IMAGENET = make_task(batch_size=1024, steps_per_epoch=1251, total_steps=150_136)


def rate(step: int, *, warmup: bool) -> float:
    names = ["cosine", "warmup"] if warmup else ["cosine"]
    return 0.4 * compose(create_all(names), IMAGENET).schedule(step)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 6.3949e-5), (6254, 0.4), (6255, 0.4), (78_195, 0.2000022), (150_135, 4.8e-11)],
)
def test_after_the_warm_up_of_imagenet(step, expected):
    assert rate(step, warmup=True) == pytest.approx(expected, rel=1e-3 if expected < 1e-3 else 1e-7)


@pytest.mark.parametrize(("quarters", "expected"), [(0, 0.4), (1, 0.3414214), (2, 0.2), (3, 0.0585786)])
def test_without_warm_up_the_quarters_of_the_run_are_those_of_half_a_cosine(quarters, expected):
    assert rate(quarters * 150_136 // 4, warmup=False) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("start", [0, 6255])
def test_it_never_rises_after_the_warm_up(start):
    schedule = compose(create_all(["cosine", "warmup"] if start else ["cosine"]), IMAGENET).schedule
    factors = [schedule(step) for step in range(start, 150_136, 7)]
    assert all(before >= after for before, after in pairwise(factors))


@pytest.mark.parametrize("start", [0, 6255])
def test_the_mean_after_the_warm_up_is_half_the_peak(start):
    schedule = compose(create_all(["cosine", "warmup"] if start else ["cosine"]), IMAGENET).schedule
    factors = [schedule(step) for step in range(start, 150_136, 11)]
    assert sum(factors) / len(factors) == pytest.approx(0.5, abs=1e-4)
