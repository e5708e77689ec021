"""Networks that take grey images of one channel, and weights of three in them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models

from bagoftricks.errors import UserError
from bagoftricks.measure.complexity import count_macs
from bagoftricks.models import build_model
from bagoftricks.models.channels import image_channels, take_channels
from bagoftricks.models.weights import load_weights
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import CLASSES, KEY, make_batch, make_task, parts_of

SPECS = {
    "resnet": (network_settings(depths=[1, 1], width=4), 16),
    "resnet of photographs": (network_settings(depths=[1, 1], width=4), 80),
    "resnet9": (network_settings("resnet9", width=4), 32),
    "cifarnet": (network_settings("cifarnet", widths=[4, 8]), 16),
    "mobilenet_v1": (network_settings("mobilenet_v1", width=4), 32),
    "torchvision": (network_settings("torchvision", network="resnet18"), 32),
    "timm": (network_settings("timm", network="resnet10t"), 32),
}


def built(spec, pixels, channels, parts=None):
    torch.manual_seed(0)
    return build_model(spec, parts or {}, num_classes=CLASSES, image_size=pixels, channels=channels)


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_network_takes_one_channel_at_the_cost_of_one(name):
    spec, pixels = SPECS[name]
    colours, greys = built(spec, pixels, 3), built(spec, pixels, 1)
    assert (image_channels(colours), image_channels(greys)) == (3, 1)
    first = next(module for module in greys.modules() if isinstance(module, nn.Conv2d))
    side = pixels // first.stride[0]
    saved = 2 * first.weight.numel()  # two of three channels of the first kernel
    assert sum(p.numel() for p in colours.parameters()) - sum(p.numel() for p in greys.parameters()) == saved
    assert count_macs(colours, pixels) - count_macs(greys, pixels) == saved * side**2
    assert greys(make_batch(pixels=pixels).images[:, :1]).shape == (8, CLASSES)


@pytest.mark.parametrize("name", SPECS)
def test_weights_of_three_channels_see_greys_as_three_equal_channels(name, tmp_path):
    spec, pixels = SPECS[name]
    colours, greys = built(spec, pixels, 3).eval(), built(spec, pixels, 1).eval()
    save_file(colours.state_dict(), tmp_path / "weights.safetensors")
    load_weights(greys, tmp_path / "weights.safetensors")
    images = torch.randn(4, 1, pixels, pixels, generator=KEY.generator())
    with torch.no_grad():
        assert torch.allclose(greys(images), colours(images.expand(-1, 3, -1, -1)), atol=1e-5)
    save_file(greys.state_dict(), tmp_path / "grey.safetensors")
    load_weights(built(spec, pixels, 1), tmp_path / "grey.safetensors")
    with pytest.raises(UserError, match="of another shape"):
        load_weights(colours, tmp_path / "grey.safetensors")


@pytest.mark.parametrize(
    ("tricks", "pixels"), [(("resnet_c",), 16), (("resnet_d",), 80), (("big_little",), 80), (("patch_whitening",), 16)]
)
def test_the_stems_of_tricks_take_one_channel(tricks, pixels):
    spec = network_settings(depths=[2, 2, 2, 1], width=4) if "big_little" in tricks else SPECS["resnet"][0]
    model = built(spec, pixels, 1, parts_of(*tricks))
    assert next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels == 1
    assert model(make_batch(pixels=pixels).images[:, :1]).shape == (8, CLASSES)


def test_patches_of_greys_are_whitened_by_nine_filters():
    images = make_batch(64).images[:, :1].contiguous()
    filters = torch.empty(9, 1, 3, 3)
    init = next(e for e in create("patch_whitening", eps=1e-9).edits(make_task()) if hasattr(e, "images"))
    init.init(filters, images)
    patches = nn.functional.unfold(images, 3).transpose(1, 2).flatten(0, 1).double()
    white = patches @ filters.double().flatten(1).T
    assert torch.allclose(white.T @ white / (len(white) - 1), torch.eye(9).double(), atol=1e-5)


def test_a_network_without_a_convolution_of_colours_is_refused_by_name():
    for model in (nn.Linear(3, 2), nn.Sequential(nn.Conv2d(4, 2, 1)), nn.Sequential(nn.Conv2d(3, 3, 1, groups=3))):
        with pytest.raises(UserError, match=r"^data\.channels=1: odd begins with no convolution of colours; type data"):
            take_channels(model, 1, "odd")


def one_of_each() -> list[str]:
    """Return a classifier of each file of torchvision's."""
    every = reversed(torchvision_models.list_models(module=torchvision_models))
    return sorted({torchvision_models.get_model_builder(name).__module__: name for name in every}.values())


@pytest.mark.slow
@pytest.mark.parametrize("network", one_of_each())
def test_every_kind_of_classifier_of_torchvision_takes_one_channel(network):
    with torch.device("meta"):
        model = built(network_settings("torchvision", network=network), 224, 1).eval()
        assert model(torch.empty(1, 1, 224, 224)).shape == (1, CLASSES)
