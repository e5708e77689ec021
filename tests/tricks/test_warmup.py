import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_task, the_edit

EPOCH = 100
LONG = make_task(steps_per_epoch=EPOCH, total_steps=120 * EPOCH)
SHORT = make_task(steps_per_epoch=EPOCH, total_steps=10 * EPOCH)


def test_the_rate_rises_by_equal_steps_to_the_peak():
    schedule = compose({"warmup": create("warmup", epochs=4.0)}, make_task(steps_per_epoch=1, total_steps=100)).schedule
    assert [schedule(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_five_epochs_by_default():
    assert the_edit("warmup", LONG).steps() == 5 * EPOCH


def test_a_fraction_of_an_epoch_is_counted_in_steps():
    assert the_edit("warmup", LONG, epochs=0.5).steps() == EPOCH / 2


def test_a_short_run_warms_up_for_at_most_a_fifth_of_it():
    assert the_edit("warmup", SHORT).steps() == 2 * EPOCH


def test_the_bound_is_a_hyper_parameter():
    assert the_edit("warmup", SHORT, max_share=0.4).steps() == 4 * EPOCH


def test_a_step_decay_keeps_its_absolute_epochs():
    with_it, baseline = (compose(create_all(names), LONG).schedule for names in (["warmup"], []))
    later = range(5 * EPOCH, 120 * EPOCH)
    assert [with_it(step) for step in later] == [baseline(step) for step in later]


def test_a_boundary_within_the_warm_up_does_not_multiply_it():
    schedule = compose({"warmup": create("warmup", epochs=40.0, max_share=1.0)}, LONG).schedule
    assert schedule(35 * EPOCH - 1) == pytest.approx(35 / 40)
    assert schedule(40 * EPOCH) == pytest.approx(0.1)


@pytest.mark.parametrize(("field", "value"), [("epochs", 0.0), ("epochs", -1.0)])
def test_a_length_that_is_not_positive_is_refused(field, value):
    with pytest.raises(UserError, match=rf"^tricks\.warmup\.{field}={value}: must be positive$"):
        create("warmup", **{field: value})


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_bound_outside_its_range_is_refused(share):
    with pytest.raises(UserError, match=rf"^tricks\.warmup\.max_share={share}: must be in \(0, 1\]$"):
        create("warmup", max_share=share)
