"""Depths of the parameters of networks of ours, of torchvision and of timm, counted by hand from their source."""

import pytest
import torch
from torch import nn

from bagoftricks.models import build_model
from bagoftricks.models.depth import set_depths
from bagoftricks.recipe.edits import Depth, depth_of
from bagoftricks.settings import network_settings
from tests.helpers import RESNET50, TINY9, parts_of


def depths(model: nn.Module) -> dict[str, Depth]:
    """Return the depth of each tensor by its full name."""
    return {
        f"{prefix}.{name}".lstrip("."): depth_of(module, name)
        for prefix, module in model.named_modules()
        for name in {**module._parameters, **module._buffers}
    }


def depths_of(spec, image_size: int = 224, parts=None) -> dict[str, Depth]:
    with torch.device("meta"):
        return depths(build_model(spec, parts or {}, num_classes=10, image_size=image_size))


def places(found: dict[str, Depth], names: list[str]) -> list[tuple[int, int]]:
    return [(found[name].stage, found[name].block) for name in names]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (RESNET50, ["stem.0.weight", "stages.0.2.conv1.conv.weight", "stages.2.0.norm.running_mean", "head.bias"]),
        (
            network_settings(kind="torchvision", network="resnet50"),
            ["bn1.weight", "layer1.2.conv1.weight", "layer3.0.downsample.1.running_var", "fc.weight"],
        ),
        (
            network_settings(kind="timm", network="resnet50"),
            ["bn1.running_mean", "layer1.2.conv1.weight", "layer3.0.bn3.running_var", "fc.bias"],
        ),
    ],
    ids=["ours", "torchvision", "timm"],
)
def test_a_resnet_50_has_four_stages_of_sixteen_blocks_whoever_builds_it(spec, names):
    found = depths_of(spec)
    assert places(found, names) == [(0, 0), (1, 3), (3, 8), (5, 17)]
    assert {(depth.stages, depth.blocks) for depth in found.values()} == {(4, 16)}


@pytest.mark.parametrize(
    ("network", "names", "expected"),
    [
        (
            "vit_b_16",
            ["class_token", "encoder.pos_embedding", "conv_proj.weight", "encoder.ln.weight", "heads.head.weight"],
            [(0, 0), (0, 0), (0, 0), (12, 12), (13, 13)],
        ),
        ("vgg16", ["features.0.weight", "features.2.weight", "classifier.3.weight"], [(0, 0), (1, 1), (12, 14)]),
        (
            "densenet121",
            ["features.norm0.weight", "features.norm5.weight", "classifier.bias"],
            [(0, 0), (7, 61), (8, 62)],
        ),
        (
            "squeezenet1_0",
            ["features.0.bias", "features.12.squeeze.bias", "classifier.1.bias"],
            [(0, 0), (8, 8), (9, 9)],
        ),
    ],
)
def test_networks_of_torchvision_follow_the_order_of_their_modules(network, names, expected):
    assert places(depths_of(network_settings(kind="torchvision", network=network)), names) == expected


def test_a_norm_between_the_last_stage_and_the_head_belongs_to_that_stage_in_timm():
    found = depths_of(network_settings(kind="timm", network="convnext_atto"))
    assert places(found, ["stem.1.weight", "stages.2.downsample.0.weight", "head.norm.weight", "head.fc.weight"]) == [
        (0, 0),
        (3, 5),
        (4, 12),
        (5, 13),
    ]


def test_each_module_of_a_row_is_a_stage_where_there_are_no_lists():
    assert {depth.stages for depth in depths_of(TINY9, 32).values()} == {5}


def test_a_stem_that_a_trick_builds_is_one_stem():
    found = depths_of(RESNET50, parts=parts_of("resnet_d", "se"))
    assert {name.split(".")[0] for name, depth in found.items() if depth.stage == 0} == {"stem"}


def test_a_network_of_two_layers_has_a_stem_and_a_head():
    found = depths(set_depths(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))))
    assert places(found, ["0.weight", "2.bias"]) == [(0, 0), (1, 1)]


def test_a_single_layer_is_a_head():
    assert depths(set_depths(nn.Linear(4, 2)))["weight"].in_head
