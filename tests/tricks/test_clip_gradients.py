import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import GradPhase
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, the_edit

IDENTITIES = [{"norm": 1e9}]


def gradients(scale):
    rng = KEY.fold("gradients").generator()
    return [scale * torch.randn(shape, generator=rng) for shape in [(4, 3), (7,), (2, 2, 3, 3)]]


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 1e4])
@pytest.mark.parametrize("norm", [0.5, 1.0, 20.0])
def test_it_is_pytorchs_clipping(scale, norm):
    ours, parameters = gradients(scale), [nn.Parameter(torch.zeros_like(g)) for g in gradients(scale)]
    for parameter, grad in zip(parameters, gradients(scale), strict=True):
        parameter.grad = grad
    create("clip_gradients", norm=norm).clip(ours)
    torch.nn.utils.clip_grad_norm_(parameters, norm)
    assert all(torch.equal(grad, p.grad) for grad, p in zip(ours, parameters, strict=True))


def test_all_gradients_together_get_the_length():
    grads = [torch.tensor([3.0]), torch.tensor([4.0])]
    create("clip_gradients", norm=2.5).clip(grads)
    assert [g.item() for g in grads] == pytest.approx([1.5, 2.0])


def test_a_shorter_gradient_keeps_its_bits():
    grads = gradients(1e-3)
    create("clip_gradients").clip(grads)
    assert all(torch.equal(one, other) for one, other in zip(grads, gradients(1e-3), strict=True))


def test_a_gradient_of_zero_stays():
    grads = [torch.zeros(3)]
    create("clip_gradients").clip(grads)
    assert grads[0].tolist() == [0, 0, 0]


def test_it_is_the_last_of_the_gradient_maps():
    assert the_edit("clip_gradients").phase is max(GradPhase)


def test_a_length_that_is_not_positive_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.clip_gradients\.norm=0\.0: must be positive$"):
        create("clip_gradients", norm=0.0)
