import pytest
import torch
from torch import nn

from tests.helpers import KEY, TINY9, create_all, make_trainer, the_edit


def started(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    with torch.no_grad():
        the_edit("dirac_init").init(conv.weight, KEY)
    return conv


@pytest.mark.parametrize("c_out", [4, 6])
def test_the_first_outputs_are_the_inputs_bit_for_bit(c_out):
    x = torch.randn(2, 4, 5, 5, generator=KEY.generator())
    assert torch.equal(started(4, c_out)(x)[:, :4], x)


def test_with_fewer_outputs_than_inputs_they_are_the_first_inputs():
    x = torch.randn(2, 4, 5, 5, generator=KEY.generator())
    assert torch.equal(started(4, 3)(x), x[:, :3])


def test_the_filters_beyond_keep_their_start():
    torch.manual_seed(0)
    before = nn.Conv2d(4, 6, 3, bias=False).weight.detach().clone()
    torch.manual_seed(0)
    assert torch.equal(started(4, 6).weight[4:], before[4:])


@pytest.mark.parametrize(
    ("module", "chosen"),
    [
        (nn.Conv2d(8, 8, 3), True), (nn.Conv2d(3, 8, 3), False), (nn.Conv2d(8, 8, 1), False),
        (nn.Conv2d(8, 8, 3, groups=2), False), (nn.Conv2d(8, 8, 2), False), (nn.Linear(8, 8), False),
    ],
)  # fmt: skip
def test_which_kernels_it_is_for(module, chosen):
    assert the_edit("dirac_init").select(module, "weight") is chosen
    assert not the_edit("dirac_init").select(module, "bias")


def test_the_body_of_a_network_starts_as_pooling_and_norm():
    model = make_trainer(create_all(["dirac_init"]), network=(TINY9, 32)).model
    conv = model.layers[0][0]
    assert torch.equal(conv.weight[:4, :, 1, 1], torch.eye(4))
    assert conv.weight[:4].sum() == 4
