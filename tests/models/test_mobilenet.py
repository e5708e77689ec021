import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bagoftricks.errors import NoEffectError
from bagoftricks.models import build_model
from bagoftricks.recipe.edits import Part
from bagoftricks.run.check import check
from bagoftricks.settings import Settings, network_settings
from bagoftricks.tricks.regularize.dropblock import BlockDrop
from tests.helpers import parts_of
from tests.models.test_resnet import assert_same_logits, copy_in_order, numbers, randomise


def mobilenet(width: int = 32, chosen=None, *, image_size: int = 224, num_classes: int = 1000) -> nn.Module:
    spec = network_settings(name="mobilenet", kind="mobilenet_v1", width=width)
    return build_model(spec, chosen or {}, num_classes=num_classes, image_size=image_size)


@pytest.mark.parametrize(("width", "expected"), [(32, 4_231_976), (24, 2_585_560), (16, 1_331_592), (8, 470_072)])
def test_parameters_at_each_width_multiplier(width, expected):
    with torch.device("meta"):
        assert numbers(mobilenet(width)) == expected


def test_multiply_accumulates_of_one_image():
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        mobilenet()(torch.zeros(1, 3, 224, 224))
    assert round(counter.get_total_flops() / 2e6) == 569


@pytest.mark.parametrize("image_size", [96, 97])
def test_it_computes_what_timm_computes_with_timms_activation(image_size):
    source = randomise(timm.create_model("mobilenetv1_100", pretrained=False))
    ours = mobilenet(chosen={Part.ACT: [("relu6", nn.ReLU6)]})
    assert_same_logits(source, copy_in_order(source, ours), image_size)


@pytest.mark.parametrize(("image_size", "last_map"), [(32, 2), (64, 4), (65, 3), (224, 7)])
def test_up_to_64_pixels_the_first_convolution_keeps_the_resolution(image_size, last_map):
    with torch.device("meta"):
        model = mobilenet(image_size=image_size)
        assert model.blocks(model.stem(torch.zeros(1, 3, image_size, image_size))).shape[2:] == (last_map, last_map)


def test_it_is_made_of_the_parts_for_norms_activations_and_the_head():
    def halving_pool():
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    made = {
        Part.NORM: [("norm", nn.InstanceNorm2d)],
        Part.ACT: [("act", nn.SiLU)],
        Part.HEAD_POOL: [("pool", halving_pool)],
        Part.HEAD_DROP: [("drop", lambda site: nn.Dropout(0.5))],
    }
    with torch.device("meta"):
        model = mobilenet(chosen=made)
    kinds = [type(module) for module in model.modules()]
    assert [kinds.count(kind) for kind in (nn.InstanceNorm2d, nn.SiLU, nn.AdaptiveAvgPool2d, nn.Dropout)] == [
        *(27, 27, 1, 1)
    ]
    assert not {nn.BatchNorm2d, nn.ReLU} & set(kinds)


@pytest.mark.parametrize("trick", ["resnet_b", "zero_gamma"])
def test_what_acts_on_residual_branches_changes_nothing(trick):
    model = network_settings(name="mobilenet", kind="mobilenet_v1", width=32)
    with pytest.raises(NoEffectError, match=f"^trick '{trick}' changes nothing"):
        check(Settings(model=model, tricks={trick: {}}))


@pytest.mark.parametrize(("reduction", "expected"), [(16, 4_711_720), (2, 8_069_928)])
def test_parameters_with_a_gate_after_each_1x1(reduction, expected):
    with torch.device("meta"):
        assert numbers(mobilenet(chosen=parts_of("se", reduction=reduction))) == expected


def test_dropblock_follows_the_1x1_of_the_last_two_stages_as_in_resnets():
    model = mobilenet(chosen=parts_of("dropblock"), image_size=64)
    drops = {name: module for name, module in model.named_modules() if isinstance(module, BlockDrop)}
    assert list(drops) == [f"blocks.{at}.1.2" for at in range(5, 13)]
    assert [drop.scale for drop in drops.values()] == [0.25] * 6 + [1.0] * 2
