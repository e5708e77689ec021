import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import NoEffectError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.settings import network_settings
from bagoftricks.training.parameters import check_selectors, initialise
from tests.helpers import KEY, create_all, make_batch, make_task

RECIPE = compose(create_all(["zero_gamma"]), make_task())


def started(block: str = "bottleneck", depths: tuple[int, ...] = (2, 2)) -> nn.Module:
    spec = network_settings(name="tiny", block=block, depths=list(depths), width=4)
    model = build_model(spec, {}, num_classes=5, image_size=16)
    initialise(model, RECIPE.inits, KEY)
    return model


def zeroed(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if name.endswith("weight") and not p.any()]


def after_the_first_backward(block: str) -> dict[str, Tensor]:
    model = started(block)
    model.train()(make_batch().images).square().sum().backward()
    return {name: parameter.grad for name, parameter in model.stages[0][1].named_parameters()}


@pytest.mark.parametrize(("block", "depths"), [("bottleneck", (3, 4, 6, 3)), ("basic", (2, 2, 2, 2))])
def test_one_gamma_in_each_block_is_zero_the_last_of_its_branch(block, depths):
    names = zeroed(started(block, depths))
    assert names == [f"stages.{i}.{j}.norm.weight" for i, depth in enumerate(depths) for j in range(depth)]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_a_block_without_projection_starts_as_the_identity(block, training):
    last = started(block).stages[0][1].train(training)
    x = torch.rand(2, 16 if block == "bottleneck" else 4, 8, 8, generator=KEY.generator())
    assert torch.equal(last(x), x)


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_at_first_the_convolutions_of_a_branch_have_no_gradient(block):
    gradients = [
        grad for name, grad in after_the_first_backward(block).items() if name.startswith("conv") and grad.ndim == 4
    ]
    assert len(gradients) == {"bottleneck": 3, "basic": 2}[block]
    assert not any(grad.any() for grad in gradients)


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_at_first_the_closing_norm_has_a_gradient(block, parameter):
    assert after_the_first_backward(block)[f"norm.{parameter}"].all()


def test_a_network_without_residual_branches_is_refused():
    message = (
        r"^trick 'zero_gamma' changes nothing: Sequential has no parameter for it to initialise; "
        r"drop it with ~tricks\.zero_gamma, or choose another model=$"
    )
    with pytest.raises(NoEffectError, match=message):
        check_selectors(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), RECIPE)
