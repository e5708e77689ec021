from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import ConflictError, TooSmall, UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Role, has_role
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, RESNET50, TINY_BIG_LITTLE, create_all, make_task, parts_of

CONFLICTS = ["resnet_b", "resnet_c", "resnet_d"]  # contains the first; has the stem and shortcut of the others


def network(
    spec: ModelSettings = RESNET50, *others: str, num_classes: int = 1001, image_size: int = 224, **params: int
) -> nn.Module:
    with torch.device("meta"):
        parts = parts_of("big_little", *others, **params)
        return build_model(spec, parts, num_classes=num_classes, image_size=image_size)


def tiny(*others: str, pixels: int = 64, depths: Sequence[int] = (2, 2, 2, 1), **settings) -> nn.Module:
    spec = network_settings(name="tiny", depths=list(depths), width=4, **settings)
    return build_model(spec, parts_of("big_little", *others), num_classes=5, image_size=pixels)


def shapes(model: nn.Module, size: int) -> dict[str, tuple[int, int]]:
    """Channels and side of what the stem, the stages and the branches of stages give."""
    seen: dict[str, tuple[int, int]] = {}
    watched = {"stem": model.stem}
    for i, stage in enumerate(model.stages):
        watched[f"stage{i + 1}"] = stage
        if i < 3:
            *big, _, little, _ = stage.children()
            watched |= {f"big{i + 1}": big[-1], f"little{i + 1}": little}
    for name, module in watched.items():
        module.register_forward_hook(
            lambda m, inputs, output, name=name: seen.__setitem__(name, (output.shape[1], output.shape[2]))
        )
    model(torch.zeros(1, 3, size, size, device="meta"))
    return seen


def test_parameters_of_resnet_50_for_1001_classes():
    assert count_params(network()) == 28_405_673


@pytest.mark.parametrize(("image_size", "millions"), [(224, 3267), (256, 4267)])
def test_multiply_accumulates_of_resnet_50(image_size, millions):
    assert round(count_macs(network(image_size=image_size), image_size) / 1e6) == millions


@pytest.mark.parametrize(("image_size", "sides"), [(224, [56, 28, 14, 14, 7]), (256, [64, 32, 16, 16, 8])])
def test_the_maps_of_the_stem_the_branches_and_the_stages(image_size, sides):
    found = shapes(network(image_size=image_size), image_size)
    stem, one, two, three, four = sides
    assert found["stem"] == (64, stem)
    assert [found[f"stage{i}"] for i in (1, 2, 3, 4)] == [(256, one), (512, two), (1024, three), (2048, four)]
    assert [found[f"big{i}"] for i in (1, 2, 3)] == [(256, stem // 2), (512, one // 2), (1024, two // 2)]
    assert [found[f"little{i}"] for i in (1, 2, 3)] == [(256, stem), (512, one), (1024, two)]


@pytest.mark.parametrize(
    ("depths", "params", "big", "little"),
    [
        ([3, 4, 6, 3], {}, [2, 3, 5], [1, 1, 1]),
        ([5, 12, 30, 3], {"alpha": 1, "beta": 2}, [4, 11, 29], [1, 5, 14]),
        ([4, 8, 18, 3], {}, [3, 7, 17], [1, 1, 3]),
        ([2, 2, 2, 1], {"beta": 1}, [1, 1, 1], [1, 1, 1]),
    ],
)
def test_the_blocks_of_the_branches(depths, params, big, little):
    model = network(network_settings(name="n", depths=depths, width=8), **params)
    stages = [list(stage.children()) for stage in model.stages[:3]]
    assert [len(children) - 3 for children in stages] == big  # less the merging block, Little and the activation
    assert [len(children[-2]) - 1 for children in stages] == little  # less the 1x1 to Big's channels
    assert len(model.stages[3]) == depths[3]


@pytest.mark.parametrize(("alpha", "widths"), [(2, [32, 64, 128]), (1, [64, 128, 256]), (4, [16, 32, 64])])
def test_little_has_a_share_of_the_width(alpha, widths):
    model = network(alpha=alpha)
    assert [stage.little[0].conv3.weight.shape[1] for stage in model.stages[:3]] == widths
    assert model.stem.little[0][0].weight.shape[:2] == (64 // alpha, 64)


def test_zero_gamma_finds_the_closing_norm_of_every_block():
    closing = [m for m in network(RESNET50, "zero_gamma").modules() if has_role(m, Role.CLOSING_NORM)]
    assert len(closing) == (2 + 3 + 5) + 3 + 3 + 3 == 19


def blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "keep")]


def test_the_first_block_of_each_branch_and_every_merging_block_have_a_projection():
    model = network()
    found = {name for name, block in blocks(model) if not isinstance(block.shortcut, nn.Identity)}
    expected = {f"stages.{i}.{j}" for i, n in enumerate([3, 4, 6]) for j in (0, n - 1)}
    expected |= {f"stages.{i}.little.0" for i in range(3)} | {"stages.3.0"}
    assert found == expected


@pytest.mark.parametrize(
    ("depths", "without"),
    [([3, 4, 6, 3], {"stages.0.1", "stages.1.2", "stages.2.4"}), ([2, 2, 2, 1], set()), ([3, 2, 2, 1], {"stages.0.1"})],
)
def test_the_last_block_of_a_big_of_several_has_no_activation(depths, without):
    model = network(network_settings(name="n", depths=depths, width=8))
    assert {name for name, block in blocks(model) if isinstance(block.act, nn.Identity)} == without


@pytest.mark.parametrize("side", [6, 7])
def test_shortcuts_average_three_by_three_with_counted_zeros(side):
    pool = tiny().stages[0].get_submodule("0").shortcut.pool
    x = torch.rand(2, 4, side, side, generator=KEY.generator())
    expected = F.conv2d(x, torch.full((4, 1, 3, 3), 1 / 9), stride=2, padding=1, groups=4)
    torch.testing.assert_close(pool(x), expected)
    assert pool(torch.ones(1, 1, 6, 6))[0, 0, 0, 0].item() == pytest.approx(4 / 9)


def test_a_shortcut_without_a_stride_pools_nothing():
    third = tiny().stages[2]
    assert isinstance(third.get_submodule("1").shortcut.pool, nn.Identity)
    assert third.get_submodule("0").shortcut.conv.stride == (1, 1)


def test_strides_are_in_the_3x3():
    block = tiny().stages[3][0]
    assert (block.conv1.conv.stride, block.conv2.conv.stride) == ((1, 1), (2, 2))


def test_a_stage_merges_the_sum_of_big_enlarged_and_little():
    model = tiny(depths=(3, 2, 2, 1)).eval()
    stage, x = model.stages[0], torch.randn(2, 4, 16, 16, generator=KEY.generator())
    first, last, merge = (stage.get_submodule(str(j)) for j in range(3))
    coarse = last(first(x)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert coarse.min() < 0  # no activation before the sum
    assert stage.little(x).min() < 0
    torch.testing.assert_close(stage(x), merge((coarse + stage.little(x)).relu()))


def test_the_stem_computes_what_the_paper_draws():
    stem, images = tiny().stem.eval(), torch.randn(2, 3, 64, 64, generator=KEY.generator())

    def conv(module: Sequence[nn.Module], x: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, module[0].weight, None, stride, padding) / (1 + 1e-5) ** 0.5

    x = conv(stem.entry, images, 2, 3).relu()
    little = conv(stem.little[1], conv(stem.little[0], x, 1, 1).relu(), 2, 1).relu()
    y = (conv(stem.big, x, 2, 1) + conv(stem.little[2], little, 1, 0)).relu()
    torch.testing.assert_close(stem(images), conv(stem.exit, y, 1, 0).relu())


@pytest.mark.parametrize("stem", ["auto", "imagenet", "small"])
def test_the_stem_divides_the_side_by_four_whatever_the_settings_say_and_nothing_pools(stem):
    model = tiny(stem=stem)
    assert model.pool(model.stem(torch.zeros(1, 3, 64, 64))).shape == (1, 4, 16, 16)
    assert not any(isinstance(m, nn.MaxPool2d) for m in model.modules())


@pytest.mark.parametrize("pixels", [64, 65, 79, 97])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_every_size_from_64_pixels_and_both_kinds_of_block_work(pixels, block):
    model = tiny(pixels=pixels, block=block)
    logits = model(torch.randn(2, 3, pixels, pixels, generator=KEY.generator()))
    assert logits.isfinite().all()


@pytest.mark.parametrize(("little", "expected"), [(4, [0, 0, 1, 1]), (5, [0, 0, 1, 1, 2])])
def test_big_is_enlarged_by_repeating_positions_to_the_size_of_little(little, expected):
    coarse = torch.arange(float((little + 1) // 2)).view(1, 1, 1, -1)
    assert F.interpolate(coarse, (1, little), mode="nearest").flatten().tolist() == expected


def test_a_network_of_grouped_blocks_works():
    spec = network_settings(name="resnext50", depths=[3, 4, 6, 3], width=64, groups=32, group_width=4)
    assert network(spec, num_classes=1000)(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_masks_are_drawn_in_stages_3_and_4_of_both_branches_but_not_after_littles_last_1x1():
    places = [m.place for m in tiny("dropblock").modules() if hasattr(m, "place")]
    assert len(places) == len(set(places))
    assert {place.rpartition(".")[0] for place in places} == {
        "net.stage3.block0",
        "net.stage3.block1",
        "net.stage3.little0",
        "net.stage4.block0",
    }


def test_blocks_of_little_count_as_deep_as_those_of_big_for_stochastic_depth():
    model = tiny("stochastic_depth", depths=(2, 2, 8, 1))
    lost = {name: round(13 * (1 - block.keep.survival) / 0.2) for name, block in blocks(model)}
    big = {f"stages.{i}.{j}": 2 * i + j + 1 for i, n in enumerate([2, 2, 8]) for j in range(n)}
    little = {"stages.0.little.0": 1, "stages.1.little.0": 3, "stages.2.little.0": 5}
    assert lost == {**big, **little, "stages.3.0": 13}


def test_the_weights_of_big_have_the_names_of_the_plain_network():
    plain = build_model(TINY_BIG_LITTLE, {}, num_classes=5, image_size=64).state_dict()
    ours = tiny().state_dict()
    convolutions = [name for name in plain if name.startswith("stages.") and "shortcut" not in name]
    assert all(plain[name].shape == ours[name].shape for name in convolutions)


def test_it_trains_in_half_precision_with_the_channels_last():
    model = tiny("dropblock", "stochastic_depth", "dropout", "mixed_precision").to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 64, 64, generator=KEY.generator()).to(memory_format=torch.channels_last)
    seen: list[Tensor] = []
    model.stages[2].register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    logits.float().sum().backward()
    assert seen[0].dtype is torch.bfloat16
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("other", CONFLICTS)
def test_a_conflict_says_what_big_little_brings(other):
    with pytest.raises(ConflictError, match=r"leave resnet_b, resnet_c and resnet_d out"):
        compose(create_all(["big_little", other]), make_task())


def test_images_below_64_pixels_are_refused():
    message = (
        r"^image_size=63: big_little divides the map's side by 32, so it needs 64 pixels or more: "
        r"type image_size=64, or drop it with ~tricks\.big_little$"
    )
    with pytest.raises(TooSmall, match=message):
        tiny(pixels=63)


@pytest.mark.parametrize("depths", [[2, 2, 2], [2, 2, 2, 2, 2], [2, 1, 2, 2]])
def test_another_number_of_stages_or_a_stage_of_one_block_is_refused(depths):
    message = (
        rf"^model\.depths=\[{', '.join(map(str, depths))}\]: big_little needs four stages, the first three of at least "
        r"2 blocks: choose model=resnet50, or drop it with ~tricks\.big_little$"
    )
    with pytest.raises(UserError, match=message):
        tiny(depths=depths)


def test_a_width_that_alpha_does_not_divide_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.big_little\.alpha=3: must divide model\.width=64$"):
        network(alpha=3)


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_divisor_of_zero_is_refused(name):
    with pytest.raises(UserError, match=rf"^tricks\.big_little\.{name}=0: must be in 1..1024$"):
        create("big_little", **{name: 0})
