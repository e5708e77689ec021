import numpy as np
import pytest

from bagoftricks.data.plan import StepPlan, sampled
from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

labels_of_all = np.repeat([0, 1, 2], [80, 16, 4])


def epoch(number: int, exponent: float = 0.0, **params) -> np.ndarray:
    """Return the samples of an epoch of 100 images."""
    copies = create("balanced_sampling", exponent=exponent).copies(labels_of_all)
    plan = StepPlan(100, 10, KEY, copies=copies, **params)
    return np.concatenate([rows for parts in plan.steps(number) for _, rows in parts])


@pytest.mark.parametrize(("exponent", "shares"), [(0.0, [1 / 3] * 3), (0.5, [8.944 / 14.944, 4 / 14.944, 2 / 14.944])])
def test_the_shares_of_the_classes_follow_their_counts_to_the_power(exponent, shares):
    copies = the_edit("balanced_sampling", exponent=exponent).copies(labels_of_all)
    assert copies.mean() == pytest.approx(1)
    assert [copies[labels_of_all == k].sum() / 100 for k in range(3)] == pytest.approx(shares, rel=1e-3)


def test_an_epoch_keeps_its_length_and_an_image_comes_about_as_often_as_it_should():
    copies = create("balanced_sampling").copies(labels_of_all)
    for number in range(20):
        rows = epoch(number) % 100
        assert len(rows) == 100
        assert (np.abs(np.bincount(rows, minlength=100) - copies) < 1).all()


def test_in_the_mean_over_epochs_the_classes_are_balanced():
    counts = np.mean([np.bincount(labels_of_all[epoch(number) % 100], minlength=3) for number in range(60)], 0)
    assert counts == pytest.approx([100 / 3] * 3, abs=1.5)


def test_copies_of_an_image_are_numbered_from_the_image_itself_on():
    samples = np.sort(epoch(0))
    copies = {row: sorted(samples[samples % 100 == row] // 100) for row in set((samples % 100).tolist())}
    assert all(found == list(range(len(found))) for found in copies.values())
    assert len(copies[99]) in (8, 9)


def test_the_order_of_an_epoch_is_keyed_and_shuffled():
    assert (epoch(3) == epoch(3)).all()
    assert (epoch(3) != epoch(4)).any()
    apart = np.flatnonzero(epoch(3) % 100 == 99)
    assert np.diff(apart).max() > 1


def test_each_image_once_is_a_permutation():
    rng = KEY.numpy()
    assert sorted(sampled(np.ones(50), rng)) == list(range(50))


def test_images_that_cannot_be_read_leave_a_balanced_plan():
    copies = create("balanced_sampling").copies(labels_of_all)
    left = StepPlan(100, 10, KEY, copies=copies).left(np.arange(20, 100))
    assert left.copies.mean() == pytest.approx(1)
    assert np.ptp(left.copies[60:76]) == 0


@pytest.mark.parametrize("exponent", [-0.1, 1.0])
def test_an_exponent_without_a_meaning_is_refused(exponent):
    with pytest.raises(UserError, match=rf"^tricks\.balanced_sampling\.exponent={exponent}: must be in \[0, 1\)"):
        create("balanced_sampling", exponent=exponent)


def test_which_images_come_together_is_drawn():
    evens = np.arange(0, 30, 2)
    chosen = sampled(np.where(np.arange(40) < 30, 0.5, 2.5), KEY.numpy()) % 40
    assert 0 < np.isin(evens, chosen).sum() < 15  # not every second one
