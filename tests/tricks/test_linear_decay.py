import numpy as np
import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine", "polynomial_decay", "constant_lr"]
PAGE = 97  # steps of 512 images in an epoch of CIFAR-10


def rates(epochs, warmup=None, **params):
    """Return the factor at every step."""
    tricks = {"linear_decay": create("linear_decay", **params)}
    if warmup:
        tricks["warmup"] = create("warmup", epochs=warmup, max_share=1.0)
    task = make_task(steps_per_epoch=PAGE, total_steps=epochs * PAGE)
    schedule = compose(tricks, task).schedule
    return np.array([schedule(step) for step in range(epochs * PAGE)])


def knots(times, epochs, values):
    return np.interp(np.asarray(times) / PAGE, epochs, values)


@pytest.mark.parametrize(
    ("epochs", "rise", "params", "at", "values"),
    [
        (24, 5, {}, [0, 5, 24], [0, 1, 0]),
        (13, 13 / 5, {"final": 0.1, "hold": "2 epochs"}, [0, 13 / 5, 11, 13], [0, 1, 0.1, 0.1]),
        (10, 2, {"final": 0.1, "hold": "20%"}, [0, 2, 8, 10], [0, 1, 0.1, 0.1]),
    ],
)
def test_pages_knots(epochs, rise, params, at, values):
    # The warm-up reads his line at the end of a step, as he does; the decay at its beginning.
    found, steps = rates(epochs, rise, **params), np.arange(epochs * PAGE)
    up = round(rise * PAGE)
    at = [round(knot * PAGE) / PAGE for knot in at]
    np.testing.assert_allclose(found[:up], knots(steps[:up] + 1, at, values), atol=1e-12)
    np.testing.assert_allclose(found[up:], knots(steps[up:], at, values), atol=1e-12)


def test_it_falls_to_zero_just_after_the_last_step():
    found = rates(2)
    assert found[0] == 1
    assert found[-1] == pytest.approx(1 / (2 * PAGE))
    assert np.ptp(np.diff(found)) == pytest.approx(0, abs=1e-12)


def test_a_run_shorter_than_what_is_held_keeps_to_the_final_rate():
    assert rates(1, final=0.1, hold="2 epochs")[1:].tolist() == pytest.approx([0.1] * (PAGE - 1))


def test_warm_up_does_not_multiply_it():
    alone, warm = rates(8), rates(10, 2)
    np.testing.assert_allclose(warm[2 * PAGE :], alone)


def test_a_hold_that_is_no_length_is_refused():
    message = r"^tricks\.linear_decay\.hold=2: must be as '5 epochs', '500 steps' or '10%'$"
    with pytest.raises(UserError, match=message):
        rates(1, hold="2")


def test_a_final_share_outside_its_range_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.linear_decay\.final=2\.0: must be in \[0, 1\]$"):
        create("linear_decay", final=2.0)


def test_it_composes_with_the_warm_up_of_a_preset():
    assert compose(create_all(["linear_decay", "warmup"]), make_task()).schedule(9) == pytest.approx(1 / 8)
