import pytest
import torch
from torch import nn

from bagoftricks.models import build_model
from bagoftricks.models.layers import PooledConv
from bagoftricks.recipe.edits import Part
from tests.helpers import KEY, TINY9, parts_of, site

IDENTITIES = [{"position": "before_activation"}]
POSITIONS = ["before_norm", "before_activation"]


def pooled_conv(position: str, act: type[nn.Module] | None = None) -> nn.Sequential:
    """Return the part with the weights of ``baseline``, some scales of its norm negative."""
    ((_, build),) = parts_of("early_pool", position=position)[Part.POOLED_CONV]
    return with_weights(build(3, 8, site()))


def with_weights(layer: nn.Module) -> nn.Module:
    rng = KEY.generator()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1, 1, generator=rng)
    return layer


IMAGES = torch.randn(4, 3, 8, 8, generator=KEY.fold("images").generator())


@pytest.mark.parametrize(
    ("position", "kinds"),
    [
        ("before_norm", [nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU]),
        ("before_activation", [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]),
    ],
)
def test_where_the_pool_stands(position, kinds):
    assert [type(module) for module in pooled_conv(position)] == kinds


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_maximum_of_activations_is_the_activation_of_the_maximum_bit_for_bit(training):
    early, plain = pooled_conv("before_activation").train(training), with_weights(PooledConv(3, 8, site()))
    assert torch.equal(early(IMAGES), plain.train(training)(IMAGES))


def test_a_norm_of_maxima_is_another_network():
    assert not torch.allclose(pooled_conv("before_norm")(IMAGES), pooled_conv("before_activation")(IMAGES), atol=0.01)


def test_the_norm_sees_the_maxima_of_the_convolution():
    conv, _, norm, _ = early = pooled_conv("before_norm")
    maxima = conv(IMAGES).unflatten(2, (4, 2)).unflatten(4, (4, 2)).amax((3, 5))
    mean, var = maxima.mean((0, 2, 3), keepdim=True), maxima.var((0, 2, 3), keepdim=True, unbiased=False)
    normed = (maxima - mean) / (var + 1e-5).sqrt() * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    torch.testing.assert_close(early(IMAGES), normed.relu(), rtol=1e-4, atol=1e-5)


def test_the_three_layers_of_resnet9_pool_early():
    model = build_model(TINY9, parts_of("early_pool"), num_classes=5, image_size=32)
    assert [type(model.layers[i][1]) for i in (0, 2, 3)] == [nn.MaxPool2d] * 3
