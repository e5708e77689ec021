import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine", "exponential_decay", "linear_decay", "polynomial_decay", "constant_lr"]
IDENTITIES = [{}, {"boundaries": "30 60 90%", "factor": 1.0}]
EPOCH = 50
LONG = make_task(steps_per_epoch=EPOCH, total_steps=120 * EPOCH)


def schedule(*others, task=LONG, **params):
    return compose({"step_decay": create("step_decay", **params), **create_all(others)}, task).schedule


@pytest.mark.parametrize("steps", [10, 103, 6000])
def test_its_defaults_are_the_decay_of_the_baseline(steps):
    task = make_task(total_steps=steps)
    made, baseline = schedule(task=task), compose({}, task).schedule
    assert [made(step) for step in range(steps)] == [baseline(step) for step in range(steps)]


@pytest.mark.parametrize("others", [[], ["warmup"]])
@pytest.mark.parametrize(("epoch", "factor"), [(29, 1.0), (30, 0.1), (60, 0.01), (80, 1e-3), (89, 1e-3), (90, 1e-4)])
def test_the_defaults_of_assembled_cnn_count_from_the_start_of_the_run(others, epoch, factor):
    assert schedule(*others, boundaries="30 60 80 90 epochs")(epoch * EPOCH) == pytest.approx(factor)


def test_the_rate_changes_at_the_step_of_the_boundary():
    made = schedule(boundaries="500 steps", factor=0.5)
    assert [made(step) for step in (499, 500, 5999)] == [1.0, 0.5, 0.5]


def test_moments_that_do_not_increase_are_refused():
    message = (
        r"^tricks\.step_decay\.boundaries=60 30 epochs: "
        r"must be increasing, as '30 60 90 epochs', '500 steps' or '25% 50% 75%'$"
    )
    with pytest.raises(UserError, match=message):
        schedule(boundaries="60 30 epochs")


@pytest.mark.parametrize("factor", [0.0, 1.5])
def test_a_factor_outside_its_range_is_refused(factor):
    with pytest.raises(UserError, match=rf"^tricks\.step_decay\.factor={factor}: must be in \(0, 1\]$"):
        create("step_decay", factor=factor)
