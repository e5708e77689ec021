import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine", "linear_decay", "polynomial_decay", "constant_lr"]
EPOCH = 50
LONG = make_task(steps_per_epoch=EPOCH, total_steps=120 * EPOCH)


def schedule(*others, **params):
    return compose({"exponential_decay": create("exponential_decay", **params), **create_all(others)}, LONG).schedule


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (1.98, 1.0), (2, 0.94), (4, 0.8836), (60, 0.1563)])
def test_szegedys_rate(epoch, expected):
    assert schedule()(round(epoch * EPOCH)) == pytest.approx(expected, abs=5e-5)


def test_it_counts_from_the_end_of_the_warm_up():
    alone, warm = schedule(), schedule("warmup")
    assert [warm(5 * EPOCH + step) for step in range(0, 115 * EPOCH, 7)] == [
        alone(step) for step in range(0, 115 * EPOCH, 7)
    ]


def test_without_a_staircase_it_falls_at_every_step():
    made = schedule(continuous=True)
    assert made(EPOCH) == pytest.approx(0.94**0.5)
    assert made(2 * EPOCH) == pytest.approx(0.94)


def test_the_period_and_the_factor_are_hyper_parameters():
    assert schedule(every="10%", factor=0.5)(36 * EPOCH) == 0.125


@pytest.mark.parametrize(
    ("every", "expected"),
    [("0 epochs", "longer than 0"), ("2", "as '5 epochs', '500 steps' or '10%'")],
)
def test_a_period_that_is_no_length_is_refused(every, expected):
    with pytest.raises(UserError, match=rf"^tricks\.exponential_decay\.every={every}: must be {expected}$"):
        schedule(every=every)


def test_a_factor_outside_its_range_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.exponential_decay\.factor=1\.1: must be in \(0, 1\]$"):
        create("exponential_decay", factor=1.1)
