"""Lengths and moments of a run, as users write them."""

from dataclasses import dataclass

import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.trick import Length, duration, moments

RUN = Length(steps_per_epoch=40, total_steps=4000)


@dataclass
class Made:
    """A trick with one text."""

    text: str

    def edits(self, task):
        return []


@pytest.mark.parametrize(
    ("text", "steps"),
    [("2 epochs", 80), ("1epoch", 40), ("0.5 epochs", 20), ("500 steps", 500), ("1 step", 1), ("10%", 400), ("0 %", 0)],
)
def test_a_length_in_steps(text, steps):
    assert duration(Made(text), "text")(RUN) == steps


@pytest.mark.parametrize("text", ["", "5", "epochs", "-1 epochs", "5 weeks", "1e3 steps", "1 epochs 2"])
def test_another_length_is_refused(text):
    with pytest.raises(UserError, match=r"\.text=.*: must be as '5 epochs', '500 steps' or '10%'$"):
        duration(Made(text), "text")


def test_a_length_that_must_be_something_is_at_least_a_step():
    assert duration(Made("0.01 epochs"), "text", least=1)(RUN) == 1
    with pytest.raises(UserError, match=r"\.text=0 epochs: must be longer than 0$"):
        duration(Made("0 epochs"), "text", least=1)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("30 60 90 epochs", [1200, 2400, 3600]),
        ("30,60, 90 epochs", [1200, 2400, 3600]),
        ("25% 50% 75%", [1000, 2000, 3000]),
        ("100 steps, 50 75%", [100, 2000, 3000]),
        ("33.3 %", [1332]),
        ("0.33 epochs", [13.2]),
    ],
)
def test_moments_in_steps(text, steps):
    assert moments(Made(text), "text")(RUN) == pytest.approx(steps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "30 60",
        "30 epochs 60",
        "60 30 epochs",
        "30 30 epochs",
        "0%",
        "30 epochs,",
        " 30 epochs",
        "a 1%",
        "1%%",
    ],
)
def test_other_moments_are_refused(text):
    with pytest.raises(UserError, match=r": must be increasing, as '30 60 90 epochs', '500 steps' or '25% 50% 75%'$"):
        moments(Made(text), "text")


def test_a_quarter_of_the_run_is_an_exact_step_where_there_is_one():
    assert moments(Made("25% 50% 75%"), "text")(Length(1251, 150_136)) == [37_534, 75_068, 112_602]


def test_moments_of_different_units_are_compared_when_the_length_is_known():
    mixed = moments(Made("30 epochs, 50%"), "text")
    assert mixed(Length(1, 100)) == [30, 50]
    with pytest.raises(UserError, match="must be increasing"):
        mixed(Length(1, 50))
