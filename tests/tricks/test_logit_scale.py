import pytest
import torch
from torch import nn

from bagoftricks.errors import NoEffectError, UserError
from bagoftricks.models import build_model
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, TINY, TINY9, parts_of, run

CONFLICTS = ["frozen_norm_scale"]
IDENTITIES = [{"factor": 1.0}]
NETWORKS = {
    "resnet": (TINY, 16),
    "resnet9": (TINY9, 32),
    "mobilenet_v1": (network_settings(kind="mobilenet_v1", width=4), 32),
    "torchvision": (network_settings(kind="torchvision", network="mobilenet_v3_small"), 32),
    "timm": (network_settings(kind="timm", network="resnet10t"), 32),
}


def built(network: str, factor: float | None = None) -> nn.Module:
    spec, pixels = NETWORKS[network]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {} if factor is None else parts_of("logit_scale", factor=factor)
        return build_model(spec, parts, num_classes=5, image_size=pixels).eval()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_logits_of_every_network_are_multiplied(network):
    images = torch.randn(2, 3, NETWORKS[network][1], NETWORKS[network][1], generator=KEY.generator())
    plain, scaled = built(network), built(network, 0.25)
    assert list(plain.state_dict()) == list(scaled.state_dict())
    scaled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(scaled(images), plain(images) / 4)


def test_a_network_with_a_factor_of_its_own_has_the_product():
    assert built("resnet9", 0.5).logit_scale == 1 / 16


def test_the_factor_is_in_an_exported_network():
    images, model = torch.randn(2, 3, 16, 16, generator=KEY.generator()), built("resnet", 0.25)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))


def test_a_network_without_a_linear_layer_is_refused():
    spec = network_settings(kind="torchvision", network="squeezenet1_1")
    with pytest.raises(NoEffectError, match=r"^trick 'logit_scale' changes nothing: .* builds no logit scale"):
        build_model(spec, parts_of("logit_scale"), num_classes=5, image_size=32)


def test_it_is_trained_with():
    tricks = {"logit_scale": create("logit_scale", factor=0.5)}
    assert not torch.equal(run(tricks, 1), run({}, 1))


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(UserError, match=rf"^tricks\.logit_scale\.factor={factor}: must be positive$"):
        create("logit_scale", factor=factor)
