from bagoftricks.recipe.compose import compose
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine"]


def test_the_rate_stays_at_its_peak():
    schedule = compose(create_all(["constant_lr"]), make_task()).schedule
    assert {schedule(step) for step in range(10)} == {1.0}


def test_the_warm_up_comes_first():
    schedule = compose(create_all(["constant_lr", "warmup"]), make_task()).schedule
    assert [schedule(step) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]
