import pytest
import torch
from torch import Tensor, nn

from bagoftricks.models import build_model
from bagoftricks.recipe.edits import Part
from tests.helpers import TINY, parts_of, site

CONFLICTS = ["resnet_b", "resnet_c"]  # contains both


def pooled(x: Tensor) -> Tensor:
    """Return the input of the shortcut's 1x1."""
    shortcut = parts_of("resnet_d")[Part.SHORTCUT][0][1](x.shape[1], 8, 2, site())
    return shortcut.pool(x)


def tiny(name: str) -> nn.Module:
    return build_model(TINY, parts_of(name), num_classes=5, image_size=16)


def read_positions(name: str, size: int) -> Tensor:
    """Return the positions of the input that reach the projection's output."""
    shortcut, x = tiny(name).stages[1][0].shortcut.eval(), torch.ones(1, 16, size, size, requires_grad=True)
    shortcut(x).sum().backward()
    return x.grad.abs().sum((0, 1)) > 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [(4, [[2.5, 4.5], [10.5, 12.5]]), (3, [[2.0, 3.5], [6.5, 8.0]])],
    ids=["even", "odd"],
)
def test_windows_of_two_by_two_average_the_positions_that_exist(size, expected):
    x = torch.arange(float(size * size)).view(1, 1, size, size)
    assert pooled(x)[0, 0].tolist() == expected


@pytest.mark.parametrize("size", [7, 8])
def test_a_constant_stays_itself(size):
    assert torch.equal(pooled(torch.ones(1, 4, size, size)), torch.ones(1, 4, 4, 4))


@pytest.mark.parametrize("size", [7, 8])
def test_every_position_is_read_by_the_shortcut(size):
    assert read_positions("resnet_d", size).all()


@pytest.mark.parametrize("name", ["", "resnet_b", "resnet_c"])
def test_the_shortcuts_of_the_other_forms_skip_three_quarters_of_the_positions(name):
    assert read_positions(name, 8).float().mean() == 0.25


@pytest.mark.parametrize("size", [15, 16])
def test_the_map_is_halved_once(size):
    assert tiny("resnet_d").stages[1][0](torch.zeros(2, 16, size, size)).shape == (2, 32, 8, 8)


def test_a_projection_without_stride_has_nothing_to_pool():
    first, second = (tiny("resnet_d").stages[i][0].shortcut for i in range(2))
    assert [type(shortcut.pool) for shortcut in (first, second)] == [nn.Identity, nn.AvgPool2d]


def test_no_relu_follows_the_projection():
    shortcut = tiny("resnet_d").stages[1][0].shortcut.train()
    assert shortcut(torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))).min() < 0


def test_it_contains_resnet_c():
    c, d = tiny("resnet_c"), tiny("resnet_d")
    assert [str(m) for m in d.stem] == [str(m) for m in c.stem]
    block = d.stages[1][0]
    assert (block.conv1.conv.stride, block.conv2.conv.stride) == ((1, 1), (2, 2))
