import pytest
import torch
from torch import nn

from bagoftricks.models import build_model
from tests.helpers import TINY, parts_of


def tiny(name: str) -> nn.Module:
    return build_model(TINY, parts_of(name), num_classes=5, image_size=16)


def strided_block(name: str) -> nn.Module:
    return tiny(name).stages[1][0]


def read_positions(name: str) -> torch.Tensor:
    """Return the positions of an 8x8 input that reach the 3x3 of a block that halves the map."""
    block, x = strided_block(name), torch.ones(1, 16, 8, 8, requires_grad=True)
    block.conv2(block.conv1(x)).sum().backward()
    return x.grad.abs().sum((0, 1)) > 0


@pytest.mark.parametrize(("name", "strides"), [("", [2, 1, 1]), ("resnet_b", [1, 2, 1])])
def test_the_stride_moves_from_the_first_1x1_to_the_3x3(name, strides):
    block = strided_block(name)
    assert [conv.stride[0] for conv in (block.conv1.conv, block.conv2.conv, block.conv3)] == strides


def test_every_position_is_read():
    assert read_positions("resnet_b").all()


def test_the_plain_form_skips_three_quarters_of_the_positions():
    assert read_positions("").float().mean() == 0.25


def test_the_stem_and_the_shortcut_stay_plain():
    assert str(tiny("").stem) == str(tiny("resnet_b").stem)
    assert str(strided_block("").shortcut) == str(strided_block("resnet_b").shortcut)
