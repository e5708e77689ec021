import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.measure.quantized import in_int8, time_int8
from bagoftricks.models import build_model
from bagoftricks.settings import network_settings
from tests.helpers import parts_of

pytestmark = pytest.mark.usefixtures("unchecked")  # tracing calls the network with stand-ins for tensors


def small(*tricks: str) -> nn.Module:
    spec = network_settings(name="mobilenet", kind="mobilenet_v1", width=4)
    return build_model(spec, parts_of(*tricks), num_classes=10, image_size=32).eval()


@pytest.mark.parametrize("tricks", [(), ("se",), ("dropblock",)])
def test_an_int8_network_has_8_bit_weights_and_nearly_the_logits_of_the_plain_one(tricks):
    torch.manual_seed(0)
    model, images = small(*tricks), torch.randn(16, 3, 32, 32)
    quantised = in_int8(model, 32)
    kernels = [module.weight() for module in quantised.modules() if callable(getattr(module, "weight", None))]
    assert len(kernels) >= 28  # 27 convolutions and the head
    assert {kernel.dtype for kernel in kernels} == {torch.qint8}
    with torch.inference_mode():
        plain, found = model(images), quantised(images)
    assert (found - plain).abs().max() < 0.25 * plain.std() + 1e-3
    assert not torch.equal(found, plain)


def test_the_batch_is_timed():
    timing = time_int8(small(), 32, batch=2)
    assert (timing.batch, timing.repeats >= 5) == (2, True)


def test_a_network_that_cannot_be_traced_is_refused_in_a_line():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if x.sum() > 0 else x

    with pytest.raises(UserError, match=r"^quantize=int8: this network cannot be quantised \(.+\): leave it out$"):
        in_int8(Branching(), 8)
