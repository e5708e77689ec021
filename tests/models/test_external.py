"""The networks of torchvision and timm, as the libraries define them."""

import sys

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bagoftricks.errors import NoEffectError, TooSmall, UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Part
from bagoftricks.run.check import check
from bagoftricks.settings import Settings, network_settings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from tests.helpers import CLASSES, KEY, create_all, make_batch, make_task, parts_of
from tests.models.test_resnet import assert_same_logits, numbers, randomise


def build(name: str, chosen=None, *, kind: str = "torchvision", image_size: int = 224, num_classes: int = 1000):
    spec = network_settings(name=name, kind=kind, network=name)
    return build_model(spec, chosen or {}, num_classes=num_classes, image_size=image_size)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("inception_v3", 23_834_568),
        ("mobilenet_v2", 3_504_872),
        ("mobilenet_v3_large", 5_483_032),
        ("densenet201", 20_013_928),
        ("efficientnet_b0", 5_288_548),
        ("regnet_y_400mf", 4_344_144),  # cannot be built on the meta device
    ],
)
def test_parameters(name, params):
    with torch.device("meta"):
        model = build(name, image_size=75)
    assert numbers(model) == params
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize(("name", "image_size", "millions"), [("inception_v3", 299, 5713), ("mobilenet_v2", 224, 301)])
def test_multiply_accumulates(name, image_size, millions):
    """torchvision's documentation has 5.71 and 0.30 G."""
    with torch.device("meta"):
        model = build(name, image_size=image_size).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, image_size, image_size))
    assert round(counter.get_total_flops() / 2e6) == millions


@pytest.mark.parametrize(("name", "image_size"), [("mobilenet_v2", 64), ("inception_v3", 75)])
def test_logits_are_the_librarys(name, image_size):
    extra = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    source = randomise(torchvision.models.get_model(name, weights=None, **extra))
    model = build(name, image_size=image_size)
    model.load_state_dict(source.state_dict())
    assert_same_logits(source, model.eval(), image_size)


@pytest.mark.parametrize(
    ("name", "kind"), [("efficientnet_b0", "torchvision"), ("test_efficientnet", "timm"), ("test_vit", "timm")]
)
def test_training_draws_nothing_from_the_shared_generator(name, kind):
    model = build(name, kind=kind, image_size=32, num_classes=CLASSES).train()
    images = make_batch(pixels=32).images
    before = torch.get_rng_state()
    model(images).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_branch_is_dropped():
    def rates(model):
        return [m.drop_prob for m in model.modules() if isinstance(m, timm.layers.DropPath)]

    name = "swin_tiny_patch4_window7_224"
    with torch.device("meta"):
        assert any(rates(timm.create_model(name)))
        dropped = rates(build(name, kind="timm"))
    assert dropped
    assert not any(dropped)


def test_building_leaves_the_shared_generator_and_does_not_depend_on_it():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build("test_vit", kind="timm", image_size=32).pos_embed
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(build("test_vit", kind="timm", image_size=32).pos_embed, first)


def test_no_norm_starts_at_zero():
    assert any(not m.weight.any() for m in timm.create_model("test_resnet").modules() if isinstance(m, nn.BatchNorm2d))
    norms = [m for m in build("test_resnet", kind="timm").modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(m.weight.eq(1).all() for m in norms)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mobilenet_v2", "classifier.0"),
        ("mobilenet_v3_small", "classifier.2"),
        ("efficientnet_b0", "classifier.0"),
        ("inception_v3", "dropout"),
    ],
)
def test_the_part_before_the_head_takes_the_place_of_the_dropout(name, place):
    seen = []

    def drop(site):
        seen.append(site.path)
        return nn.Tanh()

    with torch.device("meta"):
        assert isinstance(build(name).get_submodule(place), nn.Identity)
        assert isinstance(build(name, {Part.HEAD_DROP: [("drop", drop)]}).get_submodule(place), nn.Tanh)
    assert seen == ["net.head"]


def test_a_network_without_dropout_takes_no_part():
    with torch.device("meta"), pytest.raises(NoEffectError, match="densenet201 builds no "):
        build("densenet201", {Part.HEAD_DROP: [("drop", lambda site: nn.Tanh())]})


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_a_trick_of_the_network_changes_nothing(kind):
    name = {"torchvision": "mobilenet_v3_small", "timm": "test_resnet"}[kind]
    with pytest.raises(NoEffectError, match=rf"^trick 'resnet_d' changes nothing: {name} builds no stem or shortcut"):
        build(name, parts_of("resnet_d"), kind=kind)
    with pytest.raises(NoEffectError, match=r"^trick 'zero_gamma' changes nothing"):
        check(Settings(model=network_settings(kind=kind, network=name), image_size=32, tricks={"zero_gamma": {}}))


@pytest.mark.parametrize(("name", "kind"), [("mobilenet_v3_small", "torchvision"), ("test_resnet", "timm")])
def test_the_other_tricks_train_it_alike_twice(name, kind):
    chosen = ["linear_scaling", "warmup", "no_bias_decay", "mixed_precision", "cosine", "label_smoothing", "mixup"]

    def trained() -> nn.Module:
        task = make_task()
        recipe = compose(create_all(chosen), task)
        model = build(name, recipe.parts, kind=kind, image_size=32, num_classes=CLASSES)
        trainer = Trainer(recipe, model, task, task.clock.length, TrainerSetup(key=KEY, lr=0.1, weight_decay=1e-3))
        for _ in trainer.epoch(make_batch(step=step, pixels=32) for step in range(2)):
            pass
        return model

    first, second = trained().state_dict(), trained().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("image_size", [8, 74])
def test_inception_needs_75_pixels(image_size):
    with pytest.raises(TooSmall, match=rf"^image_size={image_size}: inception_v3 needs 75 pixels; type image_size=75"):
        build("inception_v3", image_size=image_size)


@pytest.mark.parametrize("image_size", [75, 76, 300])
def test_inception_takes_every_size_above(image_size):
    with torch.device("meta"):
        assert build("inception_v3", image_size=image_size).training


@pytest.mark.parametrize(("name", "kind", "image_size"), [("densenet201", "torchvision", 8), ("vgg11", "timm", 0)])
def test_an_image_that_is_too_small_is_found_before_the_run(name, kind, image_size):
    with torch.device("meta"), pytest.raises(TooSmall, match=rf"^image_size={image_size}: {name} cannot take images"):
        build(name, kind=kind, image_size=image_size)


@pytest.mark.parametrize(("name", "kind"), [("vit_b_16", "torchvision"), ("vit_tiny_patch16_224", "timm")])
def test_a_transformer_is_built_for_the_size_of_the_images(name, kind):
    with torch.device("meta"):
        build(name, kind=kind, image_size=32)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torchvision", r"^torchvision has no network 'resnet5O'; did you mean 'resnet50'\?$"),
        ("timm", r"^timm has no network 'resnet5O'; did you mean 'resnet50'\?$"),
    ],
)
def test_an_unknown_name_is_refused_with_a_near_one(kind, message):
    with pytest.raises(UserError, match=message):
        build("resnet5O", kind=kind)


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"^model=timm/resnet50d: timm is not installed; type pip install timm$"):
        build("resnet50d", kind="timm")


def test_a_library_without_a_name_is_refused():
    with pytest.raises(UserError, match=r"^model=timm: which of its networks\? Type model=timm/NAME$"):
        network_settings(kind="timm")
