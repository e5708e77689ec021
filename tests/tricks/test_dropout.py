import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.trick import Task
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, TINY, make_task, parts_of, site

IDENTITIES = [{"rate": 0.0}]


def layer(task: Task | None = None, path: str = "net.head", **params) -> nn.Module:
    (edit,) = create("dropout", **params).edits(task or make_task())
    return edit.build(site(path=path))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_so_many_features_are_zero(rate):
    assert (layer(rate=rate)(torch.ones(400, 100)) == 0).double().mean().item() == pytest.approx(rate, abs=0.01)


def test_the_others_are_scaled_as_pytorch_scales_them():
    x = torch.randn(64, 100, generator=KEY.generator())
    ours = layer(rate=0.3)(x)
    torch.manual_seed(0)
    theirs = nn.Dropout(0.3)(x)
    both = (ours != 0) & (theirs != 0)
    assert both.any()
    torch.testing.assert_close(ours[both], theirs[both])


def test_the_gradient_has_the_same_mask():
    x = torch.randn(8, 100, generator=KEY.generator(), requires_grad=True)
    y = layer()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_evaluation_drops_nothing():
    x = torch.ones(8, 100)
    assert layer().eval()(x) is x


def test_without_a_rate_there_is_no_layer():
    assert isinstance(layer(rate=0.0), nn.Identity)


def test_the_place_and_the_step_name_the_features():
    task, x = make_task(), torch.ones(8, 100)
    here, again, there = (layer(task, path)(x) for path in ("net.head", "net.head", "net.other"))
    assert torch.equal(here, again)
    assert not torch.equal(here, there)
    task.noise.key = KEY.fold("next step")
    assert not torch.equal(layer(task)(x), here)


def test_it_stands_between_the_pooling_and_the_head():
    model = build_model(TINY, parts_of("dropout", rate=0.9), num_classes=5, image_size=16)
    seen = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(torch.randn(8, 3, 16, 16, generator=KEY.generator()))
    assert (seen[0] == 0).double().mean() > 0.7


def test_half_precision_stays():
    assert layer(rate=0.3)(torch.ones(8, 100, dtype=torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(UserError, match=rf"^tricks\.dropout\.rate={rate}: must be in \[0, 1\)$"):
        create("dropout", rate=rate)
