import pytest
import torch
from torch import nn

from bagoftricks.models import build_model
from tests.helpers import RESNET50, parts_of

CONFLICTS = ["resnet_b"]  # contains it


def network(image_size: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(RESNET50, parts_of("resnet_c"), num_classes=1000, image_size=image_size)


@pytest.mark.parametrize(("image_size", "strides"), [(224, [2, 1, 1]), (32, [1, 1, 1])])
def test_the_stem_is_three_3x3_convolutions_and_only_the_first_has_a_stride(image_size, strides):
    convolutions = [m for m in network(image_size).stem if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convolutions] == [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3)]
    assert [c.stride[0] for c in convolutions] == strides


def test_norm_and_relu_follow_each_convolution():
    assert [type(m) for m in network(224).stem] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3


@pytest.mark.parametrize(("size", "expected"), [(224, 112), (225, 113), (32, 32)])
def test_the_map_behind_the_stem_has_the_size_that_the_plain_stem_gives(size, expected):
    assert network(size).stem(torch.zeros(2, 3, size, size, device="meta")).shape == (2, 64, expected, expected)


def test_it_contains_resnet_b():
    block = network(224).stages[1][0]
    assert (block.conv1.conv.stride, block.conv2.conv.stride) == ((1, 1), (2, 2))
