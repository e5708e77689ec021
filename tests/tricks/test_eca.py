import pytest
import torch
from torch import Tensor, nn

from bagoftricks.models import build_model
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import card
from tests.helpers import KEY, parts_of, site, the_edit


def gate(channels: int, stage: int = 1, **params) -> nn.Module:
    return the_edit("eca", **params).build(channels, site(stage=stage))


def with_kernel(*weights: float) -> nn.Module:
    module = gate(3)
    with torch.no_grad():
        module.conv.weight.copy_(torch.tensor(weights).view(1, 1, 3))
    return module


def maps() -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=KEY.generator())


def gated_by(x: Tensor, logits: Tensor) -> Tensor:
    return x * logits.sigmoid()[:, :, None, None]


def test_a_kernel_of_zero_halves_the_branch():
    assert torch.equal(with_kernel(0, 0, 0)(maps()), maps() / 2)


def test_a_delta_kernel_gates_each_channel_by_its_own_mean():
    torch.testing.assert_close(with_kernel(0, 1, 0)(maps()), gated_by(maps(), maps().mean((2, 3))))


def test_the_kernel_slides_along_the_channels_and_meets_zeros_at_the_ends():
    a, b, c = maps().mean((2, 3)).unbind(1)
    logits = torch.stack([2 * a + 3 * b, a + 2 * b + 3 * c, b + 2 * c], dim=1)
    torch.testing.assert_close(with_kernel(1, 2, 3)(maps()), gated_by(maps(), logits))


@pytest.mark.parametrize(("stage", "kernel"), [(1, 3), (2, 5), (3, 5), (4, 7), (5, 7), (0, 3)])
def test_the_kernel_by_the_stage(stage, kernel):
    assert gate(64, stage).conv.weight.shape == (1, 1, kernel)


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [(4, 1), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_the_kernel_by_the_channels(channels, kernel):
    assert gate(channels, kernels="formula").conv.weight.shape == (1, 1, kernel)


def test_every_block_of_a_stage_has_the_kernel_of_the_stage():
    spec = network_settings(depths=[2, 1, 1, 2], width=4)
    model = build_model(spec, parts_of("eca"), num_classes=5, image_size=16)
    kernels = [[block.gate.conv.kernel_size[0] for block in stage] for stage in model.stages]
    assert kernels == [[3, 3], [5], [5], [7, 7]]


def test_the_convolution_has_no_bias():
    assert gate(64).conv.bias is None


def test_its_card_warns_of_selective_kernels():
    assert list(card("eca").warns) == ["sk"]
