import numpy as np
import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task

CONFLICTS = ["cosine", "exponential_decay", "step_decay", "linear_decay", "polynomial_decay", "constant_lr"]


def rates(steps, *others, **params):
    """Return the factor at every step, of epochs of ten."""
    tricks = {"wsd": create("wsd", **params), **create_all(others)}
    schedule = compose(tricks, make_task(steps_per_epoch=10, total_steps=steps)).schedule
    return np.array([schedule(step) for step in range(steps)])


@pytest.mark.parametrize(
    ("params", "last"),
    [
        ({}, [1, 1 - 0.25**0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]),  # Haegele et al. 2024: 1 - sqrt
        ({"shape": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"shape": "linear", "final": 0.2}, [1, 0.8, 0.6, 0.4]),
        ({"decay": "4 steps", "shape": "linear"}, [1, 0.75, 0.5, 0.25]),
    ],
)
def test_the_rate_keeps_its_peak_and_falls_in_the_last_fifth(params, last):
    assert rates(20, **params).tolist() == pytest.approx([1.0] * 16 + last)


def test_the_decay_is_a_share_of_the_run_with_its_warm_up():
    found = rates(50, "warmup", shape="linear")  # the warm-up takes at most a fifth of the run
    assert found.tolist() == pytest.approx(
        [(i + 1) / 10 for i in range(10)] + [1.0] * 30 + [1 - i / 10 for i in range(10)]
    )


def test_a_decay_longer_than_the_run_is_all_of_it():
    assert rates(4, decay="9 epochs", shape="linear").tolist() == [1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"decay": "20"}, "tricks.wsd.decay=20: must be as '5 epochs'"),
        ({"decay": "0 steps"}, "tricks.wsd.decay=0 steps: must be longer than 0"),
        ({"shape": "cosine"}, "tricks.wsd.shape=cosine: must be one of sqrt, linear"),
        ({"final": 1.0}, "tricks.wsd.final=1.0: must be in"),
    ],
)
def test_what_is_no_decay_is_refused(params, message):
    with pytest.raises(UserError, match=f"^{message}"):
        rates(20, **params)
