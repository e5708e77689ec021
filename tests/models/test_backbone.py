"""Feature maps of residual networks, against those of torchvision and timm, and dilation against strides."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.backbone import STAGES, DilatedAverage, dilate, feature_maps
from bagoftricks.recipe.compose import compose
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task
from tests.models.test_resnet import copy_in_order, randomise, resnet

SMALL = network_settings(name="small", depths=[2, 2, 2, 2], width=8, stem="imagenet")
BASIC = network_settings(name="basic", block="basic", depths=[2, 2, 2, 2], width=8, stem="imagenet")
FORMS = {
    "a": {},
    "b": {"resnet_b": {}},
    "c": {"resnet_c": {}},
    "d": {"resnet_d": {}},
    "sk": {"resnet_d": {}, "sk": {}},
    "two_convs": {"resnet_b": {}, "sk": {"branches": "3x3+5x5"}},
    "anti_alias": {"resnet_d": {}, "anti_alias": {}},
    "blurred_everywhere": {"resnet_b": {}, "anti_alias": {"projection": True, "max_pool": True, "filter_size": 5}},
    "gates": {"se": {}, "eca": {}},
}


def network(tricks, spec=SMALL, image_size=129):
    made = {trick: create(trick, **params) for trick, params in tricks.items()}
    parts = compose(made, make_task(image_size=image_size)).parts
    return randomise(build_model(spec, parts, num_classes=5, image_size=image_size))


def images(size, count=2):
    return torch.randn(count, 3, size, size, generator=KEY.fold("images").generator())


def assert_same_maps(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.std() > 0.01
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_maps_have_the_parameters_and_the_numbers_of_their_network(form):
    model = network(FORMS[form])
    backbone = feature_maps(model)
    trunk = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
    assert list(backbone.state_dict()) == list(trunk)
    assert all(value is dict(model.named_parameters())[name] for name, value in backbone.named_parameters())
    x = model.pool(model.stem(images(129)))
    expected = [x := stage(x) for stage in model.stages]
    found = backbone(images(129))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert (backbone.channels, backbone.strides) == ([32, 64, 128, 256], [4, 8, 16, 32])
    assert [each.shape[1] for each in found] == backbone.channels


@torch.inference_mode()
def test_maps_of_torchvision_are_those_of_its_feature_extractor():
    source = randomise(torchvision.models.resnet50(weights=None))
    expected = create_feature_extractor(source, list(STAGES))(images(65))
    assert_same_maps(feature_maps(source)(images(65)), list(expected.values()))
    assert_same_maps(feature_maps(copy_in_order(source, resnet(50, "resnet_b")))(images(65)), list(expected.values()))


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "resnetblur50"])
@torch.inference_mode()
def test_maps_of_timm_are_those_of_its_features(name):
    source = randomise(timm.create_model(name, pretrained=False))
    theirs = timm.create_model(name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    theirs.load_state_dict({key: value for key, value in source.state_dict().items() if not key.startswith("fc")})
    backbone = feature_maps(source)
    assert_same_maps(backbone(images(65)), theirs(images(65)))
    assert backbone.channels == theirs.feature_info.channels()
    assert backbone.strides == theirs.feature_info.reduction()


def test_maps_are_measured_without_numbers():
    with torch.device("meta"):
        backbone = feature_maps(resnet(50, "resnet_d"))
    assert (backbone.channels, backbone.strides) == ([256, 512, 1024, 2048], [4, 8, 16, 32])


@torch.inference_mode()
def test_dilated_maps_are_those_of_torchvision():
    source = randomise(torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True]))
    expected = list(create_feature_extractor(source, list(STAGES))(images(65)).values())
    plain = torchvision.models.resnet50(weights=None).eval()
    plain.load_state_dict(source.state_dict())
    for model in (plain, copy_in_order(source, resnet(50, "resnet_b"))):
        dilate(backbone := feature_maps(model), 8)
        assert_same_maps(backbone(images(65)), expected)
        assert backbone.strides == [4, 8, 8, 8]


@pytest.mark.parametrize("stride", [8, 16])
@torch.inference_mode()
def test_dilated_maps_are_those_of_timm(stride):
    source = randomise(timm.create_model("resnet18", pretrained=False))
    theirs = timm.create_model("resnet18", pretrained=False, output_stride=stride).eval()
    theirs.load_state_dict(source.state_dict())
    dilate(backbone := feature_maps(source), stride)
    assert_same_maps(backbone(images(65))[3:], [theirs.forward_features(images(65))])


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize(("form", "spec"), [*((form, SMALL) for form in FORMS if form != "gates"), ("a", BASIC)])
@torch.inference_mode()
def test_every_kept_position_of_a_dilated_map_has_its_number(form, spec, stride):
    # A side of 1 + 128 pixels has its last position kept by every stride: borders are reflected in the same place.
    # Attention reads means over a map, of other positions in a dilated one: it is made constant.
    model = network(FORMS[form], spec)
    for name, module in model.named_modules():
        if name.endswith("attention.excite"):
            nn.init.zeros_(module.weight)
    backbone = feature_maps(model)
    expected, strides = backbone(images(129)), backbone.strides
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    dilate(backbone, stride)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.strides == [min(stride, r) for r in strides]
    found = [
        each[:, :, :: r // s, :: r // s]
        for each, r, s in zip(backbone(images(129)), strides, backbone.strides, strict=True)
    ]
    assert_same_maps(found, expected)


@pytest.mark.parametrize("stride", [8, 16])
def test_big_little_and_gates_are_dilated_too(stride):
    for model in (network({"big_little": {}}), network(FORMS["gates"])):
        backbone = feature_maps(model)
        sides = [each.shape[2] for each in backbone(images(128))]
        dilate(backbone, stride)
        assert [each.shape[2] for each in backbone(images(128))] == [max(128 // stride, side) for side in sides]


def test_a_network_trains_through_its_dilated_maps():
    backbone = feature_maps(network(FORMS["anti_alias"]))
    dilate(backbone, 8)
    backbone.train()(images(65))[-1].square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in backbone.parameters())


def test_small_images_keep_their_strides():
    backbone = feature_maps(build_model(network_settings(depths=[1, 1, 1, 1]), {}, num_classes=5, image_size=32))
    assert backbone.strides == [1, 2, 4, 8]
    dilate(backbone, 8)
    assert [each.shape[2] for each in backbone(images(32))] == [32, 16, 8, 4]


@pytest.mark.parametrize("pads", [True, False])
def test_a_dilated_average_by_hand(pads):
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=pads)
    x = torch.arange(3.0).expand(1, 2, 3, 3)  # each row 0, 1, 2; two apart: 0 with 2, and 1 and 2 alone
    rows = torch.tensor([1.0, 1, 2]) if not pads else torch.tensor([1, 0.5, 1])
    expected = rows.expand(3, 3) * torch.tensor([[1.0], [0.5], [0.5]]) ** int(pads)
    assert torch.equal(DilatedAverage(pool, 2)(x), expected.expand(1, 2, 3, 3))


def test_a_network_without_stages_is_refused():
    for model in (nn.Linear(3, 2), torchvision.models.mobilenet_v2(weights=None)):
        with pytest.raises(UserError, match="has no stages to take feature maps from; type model=resnet50"):
            feature_maps(model)


def test_a_stride_below_that_of_the_first_stage_is_refused():
    with pytest.raises(UserError, match=r"^output_stride=2: the first stage has a stride of 4; type 4 or more$"):
        dilate(feature_maps(network({})), 2)


def test_a_layer_that_cannot_be_dilated_is_named():
    backbone = feature_maps(network({}))
    backbone.stages[3].append(nn.FractionalMaxPool2d(2, output_ratio=0.5, _random_samples=torch.zeros(1, 256, 2)))
    with pytest.raises(UserError, match=r"^output_stride=8: stages\.3\.2 \(FractionalMaxPool2d\) works with"):
        dilate(backbone, 8)
