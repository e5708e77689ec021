import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bagoftricks.errors import NoEffectError, UserError
from bagoftricks.models import build_model
from bagoftricks.settings import network_settings
from tests.helpers import KEY, TINY, parts_of

DEPTHS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}


def resnet(layers: int, form: str, *, num_classes: int = 1000, image_size: int = 224) -> nn.Module:
    block = "basic" if layers < 50 else "bottleneck"
    spec = network_settings(name=f"resnet{layers}", block=block, depths=DEPTHS[layers], width=64)
    return build_model(spec, parts_of(form), num_classes=num_classes, image_size=image_size)


def numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def randomise(model: nn.Module) -> nn.Module:
    """Give every parameter and every statistic of a norm a value that matters."""
    rng = KEY.generator()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=rng)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0, generator=rng)
                module.bias.normal_(0.0, 0.1, generator=rng)
                module.running_mean.normal_(0.0, 0.1, generator=rng)
                module.running_var.uniform_(0.5, 1.5, generator=rng)
    return model.eval()


def copy_in_order(source: nn.Module, target: nn.Module) -> nn.Module:
    """Both list stem, blocks and head in the order they compute; the names differ, the shapes must agree."""
    theirs, ours = source.state_dict(), target.state_dict()
    assert [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
    target.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return target.eval()


def assert_same_logits(source: nn.Module, target: nn.Module, image_size: int) -> None:
    images = torch.randn(2, 3, image_size, image_size, generator=KEY.fold("images").generator())
    with torch.inference_mode():
        expected, found = source(images), target(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "form", "expected"),
    [
        (18, "", 11_689_512),
        (34, "resnet_d", 21_816_904),
        (50, "", 25_557_032),
        (50, "resnet_b", 25_557_032),
        (50, "resnet_c", 25_576_264),
        (50, "resnet_d", 25_576_264),
        (101, "resnet_b", 44_549_160),
        (152, "", 60_192_808),
        (152, "resnet_d", 60_212_040),
    ],
)
def test_parameters_on_imagenet(layers, form, expected):
    with torch.device("meta"):
        assert numbers(resnet(layers, form)) == expected


@pytest.mark.parametrize(
    ("layers", "form", "expected"),
    [(18, "", 11_173_962), (34, "", 21_282_122), (50, "resnet_b", 23_520_842), (50, "resnet_d", 23_547_754)],
)
def test_parameters_on_small_images_of_ten_classes(layers, form, expected):
    with torch.device("meta"):
        assert numbers(resnet(layers, form, num_classes=10, image_size=32)) == expected


@pytest.mark.parametrize(
    ("layers", "form", "image_size", "millions"),
    [
        (18, "", 224, 1814),
        (50, "", 224, 3858),
        (50, "resnet_b", 224, 4089),
        (50, "resnet_c", 224, 4329),
        (50, "resnet_d", 224, 4329),
        (101, "resnet_b", 224, 7801),
        (152, "", 224, 11_282),
        (152, "resnet_d", 224, 11_753),
        (18, "", 32, 555),
        (50, "resnet_b", 32, 1298),
    ],
)
def test_multiply_accumulates_of_one_image(layers, form, image_size, millions):
    num_classes = 1000 if image_size == 224 else 10
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = resnet(layers, form, num_classes=num_classes, image_size=image_size)
        model(torch.zeros(1, 3, image_size, image_size))
    assert round(counter.get_total_flops() / 2e6) == millions


@pytest.mark.parametrize("image_size", [224, 225])
def test_resnet_d_computes_what_timm_computes(image_size):
    source = randomise(timm.create_model("resnet50d", pretrained=False))
    assert_same_logits(source, copy_in_order(source, resnet(50, "resnet_d")), image_size)


@pytest.mark.parametrize("image_size", [224, 225])
def test_resnet_b_computes_what_torchvision_computes(image_size):
    source = randomise(torchvision.models.resnet50(weights=None))
    assert_same_logits(source, copy_in_order(source, resnet(50, "resnet_b")), image_size)


def test_the_basic_form_computes_what_torchvision_computes():
    source = randomise(torchvision.models.resnet18(weights=None))
    assert_same_logits(source, copy_in_order(source, resnet(18, "")), 224)


def test_the_plain_form_differs_from_torchvision_in_its_strides_alone():
    source = torchvision.models.resnet50(weights=None)
    for stage in (source.layer2, source.layer3, source.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    randomise(source)
    assert_same_logits(source, copy_in_order(source, resnet(50, "")), 224)


@pytest.mark.parametrize("form", ["", "resnet_b", "resnet_c", "resnet_d"])
@pytest.mark.parametrize(("pixels", "expected"), [(15, 8), (16, 8), (17, 9)])
def test_a_later_stage_halves_the_map_and_rounds_up(form, pixels, expected):
    model = build_model(TINY, parts_of(form), num_classes=5, image_size=pixels)
    images = torch.zeros(2, 3, pixels, pixels)
    assert model.stages(model.pool(model.stem(images))).shape == (2, 32, expected, expected)


@pytest.mark.parametrize(("image_size", "first_map"), [(64, 64), (65, 17), (224, 56)])
def test_up_to_64_pixels_the_stem_keeps_the_resolution(image_size, first_map):
    model = build_model(TINY, {}, num_classes=5, image_size=image_size)
    assert model.pool(model.stem(torch.zeros(1, 3, image_size, image_size))).shape[-1] == first_map


@pytest.mark.parametrize(("stem", "first_map"), [("small", 32), ("imagenet", 8)])
def test_the_stem_can_be_chosen(stem, first_map):
    model = build_model(network_settings(depths=[1], width=4, stem=stem), {}, num_classes=5, image_size=32)
    assert model.pool(model.stem(torch.zeros(1, 3, 32, 32))).shape[-1] == first_map


def test_a_trick_whose_parts_the_network_does_not_build_is_refused():
    message = (
        r"^trick 'resnet_b' changes nothing: resnet18 builds no bottleneck stride; "
        r"drop it with ~tricks\.resnet_b, or choose another model=$"
    )
    with pytest.raises(NoEffectError, match=message), torch.device("meta"):
        resnet(18, "resnet_b")


def test_a_trick_one_of_whose_parts_is_built_is_not_refused():
    with torch.device("meta"):
        assert resnet(18, "resnet_c").stem[0].stride == (2, 2)


def test_a_block_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"^model\.block=bottle: must be one of basic, bottleneck; did you mean"):
        network_settings(block="bottle")
