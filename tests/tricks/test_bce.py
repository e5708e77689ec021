import math

import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

CONFLICTS = ["class_weights"]
LOGITS = torch.randn(6, 7, generator=KEY.generator())
MIXED = 0.7 * F.one_hot(torch.arange(6), 7).float() + 0.3 * F.one_hot(torch.tensor([6, 1, 0, 3, 2, 5]), 7)


def loss(logits, targets, **params):
    return the_edit("bce", **params).loss(logits, targets)


@pytest.mark.parametrize(("over", "images"), [("sum", 1), ("mean", 2)])
def test_two_classes_by_hand(over, images):
    # z = (ln 3, 0), t = (1, 0): s = (3/4, 1/2), so -ln(3/4) - ln(1/2)
    found = loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[1.0, 0.0]]), over=over)
    assert found.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / images)


def test_a_soft_target_counts_for_both_answers():
    # z = ln 3, t = 1/4: -ln(3/4) / 4 - 3 ln(1/4) / 4; the second class is right by half at z = 0
    found = loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.25, 0.5]]))
    assert found.item() == pytest.approx(math.log(4 / 3) / 4 + 3 * math.log(4) / 4 + math.log(2))


@pytest.mark.parametrize("threshold", [None, 0.2, 0.5])
@pytest.mark.parametrize("over", ["sum", "mean"])
def test_it_is_the_loss_of_timm(threshold, over):
    from timm.loss import BinaryCrossEntropy

    theirs = BinaryCrossEntropy(smoothing=0.0, target_threshold=threshold, sum_classes=over == "sum")
    torch.testing.assert_close(loss(LOGITS, MIXED, threshold=threshold, over=over), theirs(LOGITS, MIXED))


def test_with_a_threshold_both_classes_of_a_mixed_image_are_right():
    both = (MIXED > 0).float()
    torch.testing.assert_close(loss(LOGITS, MIXED, threshold=0.2), loss(LOGITS, both))
    assert both.sum(1).tolist() == [2, 1, 2, 1, 2, 1]
    one = F.one_hot(torch.arange(6), 7).float()
    torch.testing.assert_close(loss(LOGITS, MIXED, threshold=0.5), loss(LOGITS, one))


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_outside_its_range_is_refused(threshold):
    message = rf"^tricks\.bce\.threshold={threshold}: must be in \[0, 1\), or null for none$"
    with pytest.raises(UserError, match=message):
        create("bce", threshold=threshold)
