import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.edits import Part
from tests.helpers import RESNET50, TINY, TINY9, parts_of, the_edit

X = torch.linspace(-3, 3, 601, dtype=torch.float64)


def celu(x: Tensor, **params: float) -> Tensor:
    edit = the_edit("celu", **params)
    assert edit.part is Part.ACT
    return edit.build()(x.clone())


def test_the_default_is_pages_formula():
    expected = X.clamp(min=0) + (0.075 * ((X / 0.075).exp() - 1)).clamp(max=0)
    torch.testing.assert_close(celu(X), expected)


def test_the_derivative_is_continuous_and_one_at_zero():
    x = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(celu(x).sum(), x)
    torch.testing.assert_close(gradient, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.075, 0.5, 2.0])
def test_four_times_alpha_scales_the_function_by_four_exactly(alpha):
    assert torch.equal(celu(4 * X, alpha=4 * alpha), 4 * celu(X, alpha=alpha))


@pytest.mark.parametrize("alpha", [0.075, 0.3])
def test_the_least_value_is_minus_alpha(alpha):
    assert celu(torch.tensor([-1e4], dtype=torch.float64), alpha=alpha).item() == -alpha


def test_towards_zero_it_is_relu():
    torch.testing.assert_close(celu(X, alpha=1e-9), X.relu(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("spec", "pixels"), [(TINY, 16), (TINY9, 32), (RESNET50, 224)])
def test_every_activation_of_a_network_is_replaced(spec, pixels):
    with torch.device("meta"):
        plain, smooth = (
            build_model(spec, parts_of(form), num_classes=5, image_size=pixels).modules() for form in ("", "celu")
        )
    kinds = [type(module) for module in smooth]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.CELU) == sum(isinstance(module, nn.ReLU) for module in plain) > 0


def test_an_alpha_of_zero_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.celu\.alpha=0\.0: must be positive \(leave celu out for ReLU\)$"):
        the_edit("celu", alpha=0.0)
