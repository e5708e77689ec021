import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import make_task, the_edit

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])


def weights(counts: list[int], **params) -> list[float]:
    return create("class_weights", **params).weights(torch.tensor(counts, dtype=torch.float64)).tolist()


def loss_of(counts: tuple[int, ...], **params):
    return the_edit("class_weights", make_task(num_classes=3, class_counts=counts), **params).loss


def test_inverse_weights_are_all_images_over_those_of_the_class_and_the_classes():
    assert weights([6, 3, 1], method="inverse") == pytest.approx([10 / 18, 10 / 9, 10 / 3])


def test_effective_weights_follow_the_effective_number():
    # beta = 1/2: E = 2 (1 - 2^-n) = 1, 3/2, 7/4; 1/E = 1, 2/3, 4/7; mean over 1 + 2 + 3 images: (1 + 4/3 + 12/7) / 6
    mean = (1 + 4 / 3 + 12 / 7) / 6
    assert weights([1, 2, 3], beta=0.5) == pytest.approx([1 / mean, 2 / 3 / mean, 4 / 7 / mean])


def test_many_images_count_alike_and_few_ones_by_their_number():
    many = weights([100_000, 200_000])
    few = weights([1, 2], beta=0.999999)
    assert many[0] / many[1] == pytest.approx(1.0)
    assert few[0] / few[1] == pytest.approx(2.0, rel=1e-5)


def test_a_class_without_images_has_no_weight_and_moves_no_other():
    assert weights([6, 3, 0], method="inverse") == pytest.approx([9 / 12, 9 / 6, 0.0])


def test_the_loss_is_pytorchs_weighted_one_before_its_division_by_the_weights_of_the_batch():
    table = torch.tensor(weights([6, 3, 1], method="inverse")).float()
    labels = torch.tensor([2, 0])
    expected = F.cross_entropy(LOGITS, labels, weight=table, reduction="none").mean()
    found = loss_of((6, 3, 1), method="inverse")(LOGITS, F.one_hot(labels, 3).float())
    torch.testing.assert_close(found, expected)


def test_smoothed_targets_are_weighted_class_by_class():
    targets = torch.tensor([[0.8, 0.1, 0.1], [0.0, 0.5, 0.5]])
    table = torch.tensor(weights([6, 3, 1]))
    by_hand = -(targets * table * LOGITS.log_softmax(1)).sum() / 2
    torch.testing.assert_close(loss_of((6, 3, 1))(LOGITS, targets), by_hand.float())


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_beta_without_a_meaning_is_refused(beta):
    with pytest.raises(UserError, match=rf"^tricks\.class_weights\.beta={beta}: must be in \(0, 1\)"):
        create("class_weights", beta=beta)
