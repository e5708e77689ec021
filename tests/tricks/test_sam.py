import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import SplitBatch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, Fake, create_all, flat, make_batch, make_trainer, run

IDENTITIES = [{"rho": 0.0}]


def compute(rho, model, loss):
    create("sam", rho=rho).compute(model, lambda: loss(model).backward())


class Point(nn.Module):
    def __init__(self, *at):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(x)) for x in at)


def test_the_gradient_is_that_of_the_point_uphill():
    # f = a^2/2 + 2 b^2 at (3, 1): g = (3, 4), |g| = 5, uphill by 0.5: (3.3, 1.4), gradient (3.3, 5.6).
    point = Point(3.0, 1.0)
    compute(0.5, point, lambda p: p.a**2 / 2 + 2 * p.b**2)
    assert [point.a.grad.item(), point.b.grad.item()] == pytest.approx([3.3, 5.6])
    assert (point.a.item(), point.b.item()) == (3.0, 1.0)


@pytest.mark.parametrize("scale", [1e-3, 65536.0])
def test_a_scaled_loss_climbs_as_far(scale):
    point = Point(3.0, 1.0)
    compute(0.5, point, lambda p: scale * (p.a**2 / 2 + 2 * p.b**2))
    assert [point.a.grad.item() / scale, point.b.grad.item() / scale] == pytest.approx([3.3, 5.6])


def test_without_a_gradient_it_stays():
    point = Point(0.0, 0.0)
    compute(0.5, point, lambda p: p.a**2 + p.b**2)
    assert (point.a.grad.item(), point.b.grad.item()) == (0.0, 0.0)


def test_a_gradient_that_overflows_leaves_the_weights():
    point = Point(3.0, 1.0)
    compute(0.5, point, lambda p: float("inf") * (p.a + p.b))
    assert (point.a.item(), point.b.item()) == (3.0, 1.0)
    assert not point.a.grad.isfinite()


def test_the_weights_come_back_bit_for_bit_and_statistics_keep_to_the_first_evaluation():
    plain, sam = make_trainer({}), make_trainer(create_all(["sam"]))
    before = flat(sam.model)
    plain.backward(make_batch(), KEY)
    create("sam").compute(sam.model, lambda: sam.backward(make_batch(), KEY))
    assert torch.equal(flat(sam.model), before)
    for one, other in zip(plain.model.buffers(), sam.model.buffers(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(plain.model.head.weight.grad, sam.model.head.weight.grad)


def test_both_evaluations_see_the_whole_batch_in_micro_batches():
    seen = []

    def counted(model, images):
        seen.append(len(images[0]))

    trainer = make_trainer({"sam": create("sam"), "split": Fake([SplitBatch(images=4)])})
    trainer.model.register_forward_pre_hook(counted)
    trainer.step(make_batch(8))
    assert seen == [4, 4, 4, 4]


def test_frozen_parameters_stay_out_of_it():
    point = Point(3.0, 1.0)
    point.b.requires_grad_(False)
    compute(0.5, point, lambda p: p.a**2 / 2 + 2 * p.b**2)
    assert point.a.grad.item() == pytest.approx(3.5)
    assert point.b.grad is None


def test_it_trains_otherwise_than_the_baseline():
    assert not torch.equal(run(create_all(["sam"]), 2), run({}, 2))


def test_a_negative_length_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.sam\.rho=-0\.1: must be 0 or more$"):
        create("sam", rho=-0.1)
