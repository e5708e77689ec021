import math

import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

CONFLICTS = ["class_weights", "bce"]
IDENTITIES = [{"epsilon": 0.0}]


def loss(logits, targets, **params):
    return the_edit("poly_loss", **params).loss(logits, targets)


@pytest.mark.parametrize("epsilon", [1.0, 2.0, -0.5])
def test_a_probability_of_three_quarters_by_hand(epsilon):
    found = loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[1.0, 0.0]]), epsilon=epsilon)
    assert found.item() == pytest.approx(math.log(4 / 3) + epsilon / 4)


def test_it_is_the_series_whose_first_factor_is_1_plus_epsilon():
    logits = 0.5 * torch.randn(5, 3, generator=KEY.generator(), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    wrong = 1 - logits.softmax(1)[torch.arange(5), labels]
    series = sum((1 / j + 0.7 * (j == 1)) * wrong**j for j in range(1, 400)).mean()
    torch.testing.assert_close(loss(logits, F.one_hot(labels, 3).double(), epsilon=0.7), series)


def test_the_probability_of_a_mixed_target_is_the_mean_over_its_classes():
    logits = torch.tensor([[1.0, 3.0, 4.0]]).log()  # p = 1/8, 3/8, 1/2
    targets = torch.tensor([[0.5, 0.0, 0.5]])
    cross_entropy = (math.log(8) + math.log(2)) / 2
    assert loss(logits, targets).item() == pytest.approx(cross_entropy + 1 - (1 / 8 + 1 / 2) / 2)


def test_a_factor_below_minus_1_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.poly_loss\.epsilon=-1\.0: must be above -1, or the loss falls as "):
        create("poly_loss", epsilon=-1.0)
