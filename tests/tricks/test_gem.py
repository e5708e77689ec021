from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.training.parameters import param_groups
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, TINY, create_all, make_task, parts_of, the_edit


def pool(p: float = 3.0, **params) -> nn.Module:
    return the_edit("gem", p=p, **params).build()


def maps(scale: float = 1.0) -> Tensor:
    """Positive maps, as a ReLU leaves them."""
    return scale * torch.rand(2, 6, 3, 5, generator=KEY.generator()).clamp(min=0.01)


def the_equation(x: Tensor, p: float) -> Tensor:
    return x.double().clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p).float()


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 7.0])
def test_it_computes_the_equation(p):
    torch.testing.assert_close(pool(p)(maps()), the_equation(maps(), p))


def test_an_exponent_of_1_is_the_mean():
    torch.testing.assert_close(pool(1.0)(maps()), maps().mean((2, 3)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_large_exponent_is_the_maximum(scale):
    torch.testing.assert_close(pool(5000.0)(maps(scale)), maps(scale).amax((2, 3)), rtol=2e-3, atol=0)


def test_it_grows_with_the_exponent():
    pooled = [pool(p)(maps()) for p in (1.0, 3.0, 10.0, 100.0)]
    assert all((one < other).all() for one, other in pairwise(pooled))


@pytest.mark.parametrize("p", [1.0, 3.0, 50.0])
@pytest.mark.parametrize("c", [1e-5, 1.0, 40.0])
def test_a_constant_map_is_its_constant(p, c):
    torch.testing.assert_close(pool(p)(torch.full((1, 2, 3, 3), c)), torch.full((1, 2), c), rtol=1e-4, atol=0)


def test_what_is_not_positive_counts_as_a_millionth():
    x = torch.tensor([[[[-1.0, 0.0]]]])
    assert pool()(x).item() == pytest.approx(1e-6, rel=1e-4)


@pytest.mark.parametrize("p", [3.0, 8.0, 100.0])
def test_a_dead_channel_has_a_finite_gradient(p):
    module, x = pool(p), torch.zeros(1, 1, 4, 4, requires_grad=True)
    module(x).sum().backward()
    assert x.grad.isfinite().all()
    assert module.p.grad.isfinite().all()


def test_it_is_computed_in_fp32():
    x = maps().bfloat16()
    assert pool()(x).dtype == torch.float32
    torch.testing.assert_close(pool()(x), the_equation(x, 3))


def test_the_exponent_is_learned():
    module = the_edit("gem").build()
    module(maps()).sum().backward()
    assert module.p.item() == 3
    assert module.p.grad.item() > 0


def test_the_exponent_can_be_held():
    module = pool(learnable=False)
    assert list(module.parameters()) == list(module.state_dict()) == []
    torch.testing.assert_close(module(maps()), pool()(maps()))


def test_it_pools_the_last_map_of_the_network():
    model = build_model(TINY, parts_of("gem", p=2.0), num_classes=5, image_size=16).eval()
    images = torch.randn(2, 3, 16, 16, generator=KEY.generator())
    with torch.no_grad():
        features = model.stages(model.pool(model.stem(images)))
        torch.testing.assert_close(model(images), model.head(the_equation(features, 2)))


@pytest.mark.parametrize(("names", "decay"), [(["gem"], 0.1), (["gem", "no_bias_decay"], 0.0)])
def test_no_bias_decay_leaves_the_exponent_alone(names, decay):
    recipe = compose(create_all(names), make_task())
    model = build_model(TINY, recipe.parts, num_classes=5, image_size=16)
    groups = param_groups(model, recipe.param_scales, lr=1.0, weight_decay=0.1)
    assert [g["weight_decay"] for g in groups if any(p is model.head_pool.p for p in g["params"])] == [decay]


@pytest.mark.parametrize("p", [0.5, 0.0, -1.0])
def test_an_exponent_below_one_is_refused(p):
    with pytest.raises(UserError, match=rf"^tricks\.gem\.p={p}: must be 1 or more \(1 is the mean\)$"):
        create("gem", p=p)


def test_a_learned_exponent_that_falls_below_one_acts_as_the_mean():
    made, x = pool(1.0), torch.rand(2, 3, 4, 4, generator=KEY.generator())
    with torch.no_grad():
        made.p.fill_(-9.7)
    torch.testing.assert_close(made(x), x.mean((2, 3)))
