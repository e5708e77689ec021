"""What a planned study will see."""

import math

import numpy as np
import pytest

from bagoftricks.report.foresight import design_power, foresee, noise_of_runs
from bagoftricks.report.score import SCORES_BY_KEY
from bagoftricks.statistics.paired import compare
from bagoftricks.study.designs import make_arms
from tests.store.test_store import record

TOP1 = SCORES_BY_KEY["top1"]


def like(tops, **about):
    """Records of two recipes or more: top-1 by recipe and seed."""
    return [
        record(id=f"r{at}{seed}", seed=seed, tricks={name: {}}, metrics={"top1": top}, **about)
        for at, (name, each) in enumerate(tops.items())
        for seed, top in enumerate(each)
    ]


def test_the_noise_is_what_means_of_recipes_and_seeds_leave():
    # Differences 1 and 3 between the recipes: residuals of 0.5 in each run, one degree of freedom for each 4 runs.
    assert noise_of_runs(like({"a": [70.0, 71.0], "b": [71.0, 74.0]}), TOP1) is None  # one degree of freedom
    sd, dof, runs = noise_of_runs(like({"a": [70.0, 71.0, 70.0], "b": [71.0, 74.0, 71.0]}), TOP1)
    assert (dof, runs) == (pytest.approx(2), 6)
    assert sd == pytest.approx(math.sqrt((2 / 3) * 2 / 2))  # differences 1, 3, 1: variance 4/3, half of it a run's
    assert noise_of_runs(like({"a": [70.0]}), TOP1) is None


def test_a_plan_says_what_it_will_see_by_the_noise_of_like_runs():
    arms = make_arms("one_at_a_time", ["mixup", "cosine"])
    rng = np.random.default_rng(0)
    runs = like({name: 70 + 0.5 * rng.normal(size=40) for name in "abc"})
    found = foresee("one_at_a_time", arms, 5, runs, TOP1, 0.5)
    low, high = found.noise
    assert low < 0.5 < high
    assert found.like_runs == 120
    assert 0.8 < found.sees[0] < found.sees[1] < 1.6
    assert found.needed[0] <= found.needed[1]
    assert str(found).startswith("5 seeds will see differences of ")
    assert "as 120 like runs vary by" in str(found)


def test_without_like_runs_it_says_so():
    arms = make_arms("factorial", ["mixup", "cosine"])
    assert "if runs vary by 0.2 to 1, as no like run is known" in str(foresee("factorial", arms, 3, [], TOP1, 0.5))
    assert foresee("one_at_a_time", arms[:1], 3, [], TOP1, 0.5) is None
    assert foresee("factorial", arms, 3, [], SCORES_BY_KEY["train_images_per_s"], 1.0) is None


def test_what_is_foreseen_is_found_in_four_of_five_studies():
    arms = make_arms("one_at_a_time", ["mixup", "cosine", "ema", "sam"])
    effect, rng, found = design_power("one_at_a_time", arms).sees(4), np.random.default_rng(1), 0
    for _ in range(400):
        scores = {a.label: dict(enumerate(rng.normal(effect * (a.label == "mixup"), 1, 4))) for a in arms}
        made = compare(scores, [(a.label, "baseline") for a in arms[1:]])
        found += made[0].verdict == "helps"
    assert 0.72 <= found / 400 <= 0.88


def test_a_factorial_sees_smaller_effects_than_one_at_a_time():
    tricks = ["mixup", "cosine", "ema"]
    factorial, single = (design_power(d, make_arms(d, tricks)).sees(3) for d in ("factorial", "one_at_a_time"))
    assert factorial < 0.6 * single
