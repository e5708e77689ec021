"""Whole networks with tweaks: the numbers of the papers, and what other implementations compute."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task
from tests.models.test_resnet import assert_same_logits, copy_in_order, randomise

MODELS = Path(__file__).resolve().parents[2] / "conf" / "model"
A4: dict[str, Any] = {"resnet_b": {}, "anti_alias": {}}


def settings(name: str) -> ModelSettings:
    return network_settings(**yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8")))


def network(name: str, tricks: dict[str, dict[str, Any]], num_classes: int = 1000) -> nn.Module:
    parts = compose({trick: create(trick, **params) for trick, params in tricks.items()}, make_task()).parts
    return build_model(settings(name), parts, num_classes=num_classes, image_size=224)


def sk(**params: Any) -> dict[str, dict[str, Any]]:
    return {"resnet_b": {}, "sk": params}


@pytest.mark.parametrize(
    ("name", "tricks", "num_classes", "params", "millions"),
    [
        ("resnet50", {"resnet_b": {}, "se": {}}, 1000, 28_071_976, 4092),
        ("resnet50", {"resnet_b": {}, "se": {"bias": True}}, 1000, 28_088_024, 4092),
        ("resnet50", {"resnet_d": {}, "se": {}}, 1001, 28_093_257, 4331),
        ("resnet50", {"resnet_d": {}, "sk": {}}, 1000, 38_791_048, 6180),
        ("resnet50", {"resnet_d": {}, "sk": {}}, 1001, 38_793_097, 6180),
        ("resnet50", sk(), 1001, 38_773_865, 5941),
        ("resnet50", sk(reduction=4), 1001, 37_838_185, 5940),
        ("resnet50", sk(reduction=8), 1001, 37_395_049, 5939),
        ("resnet50", sk(reduction=16), 1001, 37_247_401, 5939),
        ("resnet50", sk(branches="3x3+5x5"), 1001, 58_893_417, 9229),
        ("resnet50", {**sk(), "se": {}}, 1001, 41_288_809, 5943),
        ("resnet50", {"resnet_b": {}, "eca": {}}, 1000, 25_557_032 + 80, 4089),
        ("resnet50", {"resnet_b": {}, "eca": {"kernels": "formula"}}, 1000, 25_557_032 + 13 * 5 + 3 * 7, 4089),
        ("resnet50", A4, 1001, 25_559_081, 5131),
        ("resnet50", {"resnet_b": {}, "gem": {}}, 1000, 25_557_032 + 1, 4089),
        ("resnext50_32x4d", {"resnet_b": {}}, 1000, 25_028_904, 4230),
        ("resnext101_32x4d", {"resnet_b": {}}, 1000, 44_177_704, 7970),
        ("resnext101_64x4d", {"resnet_b": {}}, 1000, 83_455_272, 15_460),
        ("resnext50_32x4d", {"resnet_b": {}, "se": {"bias": True}}, 1000, 27_559_896, 4233),
        ("resnext50_32x4d", {"resnet_d": {}}, 1000, 25_028_904 + 19_232, 4470),
    ],
)
def test_parameters_and_multiply_accumulates_on_imagenet(name, tricks, num_classes, params, millions):
    with torch.device("meta"):
        model = network(name, tricks, num_classes)
    assert count_params(model) == params
    assert round(count_macs(model, 224) / 1e6) == millions


def test_without_its_blurs_the_anti_aliased_network_has_the_multiply_accumulates_of_the_paper():
    with torch.device("meta"):
        macs = count_macs(network("resnet50", A4, 1001), 224)
    blurs = sum(9 * channels * size**2 for channels, size in [(128, 28), (256, 14), (512, 7)])
    assert round(blurs / 1e6, 1) == 1.6
    assert round((macs - blurs) / 1e6) == 5130


@pytest.mark.parametrize(
    ("theirs", "name", "tricks"),
    [
        ("seresnet50", "resnet50", {"resnet_b": {}, "se": {"bias": True}}),
        ("seresnext50_32x4d", "resnext50_32x4d", {"resnet_b": {}, "se": {"bias": True}}),
        ("ecaresnet50d", "resnet50", {"resnet_d": {}, "eca": {"kernels": "formula"}}),
        ("resnetblur50", "resnet50", {"resnet_b": {}, "anti_alias": {"max_pool": True}}),
        ("resnetblur50d", "resnet50", {"resnet_d": {}, "anti_alias": {"max_pool": True}}),
        ("resnext50d_32x4d", "resnext50_32x4d", {"resnet_d": {}}),
    ],
)
def test_a_network_computes_what_timm_computes(theirs, name, tricks):
    source = randomise(timm.create_model(theirs, pretrained=False))
    rng = KEY.fold("gates").generator()
    for module in source.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.normal_(module.weight, generator=rng)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, generator=rng)
    assert_same_logits(source, copy_in_order(source, network(name, tricks)), 97)


def test_resnext_computes_what_torchvision_computes():
    source = randomise(torchvision.models.resnext50_32x4d(weights=None))
    assert_same_logits(source, copy_in_order(source, network("resnext50_32x4d", {"resnet_b": {}})), 97)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"block": "basic", "groups": 32}, r"model\.groups=32: needs model\.block=bottleneck"),
        ({"block": "basic", "group_width": 4}, r"model\.group_width=4: needs model\.block=bottleneck"),
        ({"width": 8, "group_width": 4}, r"model\.group_width=4: leaves no channel at model\.width=8"),
    ],
)
def test_groups_that_the_network_cannot_have_are_refused(params, message):
    with pytest.raises(UserError, match=f"^{message}"):
        network_settings(**params)
