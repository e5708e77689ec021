import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine", "constant_lr"]
TASK = make_task(steps_per_epoch=10, total_steps=100)


def schedule(*others, **params):
    return compose({"polynomial_decay": create("polynomial_decay", **params), **create_all(others)}, TASK).schedule


@pytest.mark.parametrize(
    ("params", "step", "expected"),
    [
        ({}, 0, 1.0), ({}, 50, 0.25), ({}, 90, 0.01),
        ({"power": 1.0}, 25, 0.75), ({"power": 0.5}, 75, 0.5),
        ({"final": 0.2}, 50, 0.4), ({"final": 1.0}, 77, 1.0),
    ],
)  # fmt: skip
def test_the_power_of_the_steps_that_are_left(params, step, expected):
    assert schedule(**params)(step) == pytest.approx(expected)


def test_it_counts_from_the_end_of_the_warm_up():
    made = schedule("warmup")  # 20 steps
    assert [made(step) for step in (19, 20, 60)] == pytest.approx([1.0, 1.0, 0.25])


@pytest.mark.parametrize(("field", "value", "expected"), [("power", 0.0, "positive"), ("final", -0.1, r"in \[0, 1\]")])
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.polynomial_decay\.{field}={value}: must be {expected}$"):
        create("polynomial_decay", **{field: value})
