import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.tricks.catalogue import card, create
from tests.helpers import KEY, TINY, parts_of, site, the_edit


def gate(channels: int, **params) -> nn.Module:
    return the_edit("se", **params).build(channels, site(stage=1))


def maps(rows: int = 3, channels: int = 16, size: int = 5) -> Tensor:
    return torch.randn(rows, channels, size, size, generator=KEY.generator())


def test_the_gate_is_the_sigmoid_of_two_matrices_on_the_means():
    module = gate(2, reduction=1)
    with torch.no_grad():
        module.squeeze.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1))
        module.excite.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 2, 1, 1))
    x = torch.tensor([[[[0.0, 2.0]], [[-5.0, 3.0]]]])  # means 1 and -1: the ReLU leaves 1 and 0
    expected = x * torch.tensor([1.0, 3.0]).sigmoid().view(1, 2, 1, 1)
    torch.testing.assert_close(module(x), expected)


def test_weights_of_zero_halve_the_branch():
    module, x = gate(16), maps()
    nn.init.zeros_(module.excite.weight)
    assert torch.equal(module(x), x / 2)


def test_the_gate_lies_between_0_and_1():
    ratio = gate(16, reduction=2)(maps()) / maps()
    assert ratio.min() > 0
    assert ratio.max() < 1


def test_moving_the_pixels_moves_the_output_alike():
    module, x = gate(16, reduction=4), maps().flatten(2)
    order = torch.randperm(25, generator=KEY.generator())

    def gated(pixels: Tensor) -> Tensor:
        return module(pixels.view(3, 16, 5, 5)).flatten(2)

    torch.testing.assert_close(gated(x[..., order]), gated(x)[..., order])


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"), [(256, 16, 16), (2048, 16, 128), (64, 2, 32), (24, 16, 1), (8, 16, 1)]
)
def test_the_hidden_width_is_the_channels_over_the_reduction(channels, reduction, hidden):
    assert gate(channels, reduction=reduction).squeeze.weight.shape == (hidden, channels, 1, 1)


@pytest.mark.parametrize("bias", [False, True])
def test_there_are_biases_where_they_are_asked_for(bias):
    module = gate(32, bias=bias)
    assert [layer.bias is not None for layer in (module.squeeze, module.excite)] == [bias, bias]


def test_it_stands_between_the_closing_norm_and_the_addition():
    block = build_model(TINY, parts_of("se"), num_classes=5, image_size=16).stages[0][0].eval()
    nn.init.zeros_(block.gate.excite.weight)
    with torch.no_grad():
        x = maps(channels=4)
        branch = block.conv3(block.conv2(block.conv1(x)))
        torch.testing.assert_close(block(x), (block.norm(branch) / 2 + block.shortcut(x)).relu())


def test_beside_zero_gamma_a_block_still_starts_as_its_shortcut():
    module, zeros = gate(16, bias=True), torch.zeros(2, 16, 3, 3)
    assert torch.equal(module(zeros), zeros)


def test_eca_goes_first_where_both_gate():
    block = build_model(TINY, parts_of("se", "eca"), num_classes=5, image_size=16).stages[0][0]
    assert [type(module).__name__ for module in block.gate] == ["ChannelConv", "SqueezeExcite"]


def test_its_card_warns_of_the_other_attentions():
    assert list(card("se").warns) == ["sk", "eca"]
    assert "77.50 against 77.92" in card("se").warns["sk"]


def test_a_reduction_below_1_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.se\.reduction=0: must be 1 or more$"):
        create("se", reduction=0)
