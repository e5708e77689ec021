import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Part
from bagoftricks.recipe.trick import Task
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.regularize.dropblock import grow, seed_probability
from tests.helpers import KEY, RESNET50, make_task, parts_of, site

IDENTITIES = [{"keep_prob": 1.0}]


def late_task(progress: float = 1.0) -> Task:
    task = make_task()
    task.clock.progress.fill_(progress)
    return task


def layer(stage: int = 4, *, task: Task | None = None, path: str = "net.here", stages: int = 4, **params) -> nn.Module:
    """Return the layer of one place, by default at the end of a run."""
    (edit,) = create("dropblock", **params).edits(task or late_task())
    return edit.build(8, site(stage=stage, stages=stages, path=path))


def zeros(drop: nn.Module, *shape: int) -> Tensor:
    """Return a mask of the dropped ones."""
    return drop(torch.ones(shape)) == 0


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(14, 0.25, 0.0015625), (14, 1.0, 0.00625), (7, 1.0, 0.1), (28, 1.0, 0.0033058)]
)
def test_the_probability_of_a_square_at_each_place(side, scale, expected):
    assert scale * seed_probability(0.9, 7, side, side) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("stage", "side", "share", "centre", "corner"),
    [(3, 14, 0.0243, 0.073, 0.0014), (4, 14, 0.0925, 0.263, 0.00625), (4, 7, 0.1, 0.1, 0.1)],
)
def test_the_share_that_is_dropped_of_a_map_of_its_centre_and_of_its_corner(stage, side, share, centre, corner):
    # of 7x7 squares at 8x8 places, the centre of a 14x14 map is covered by 49 and the corner by one
    gone = zeros(layer(stage), 64, 512, side, side).double().mean((0, 1))
    found = torch.stack([gone.mean(), gone[side // 2, side // 2], gone[0, 0]])
    expected = torch.tensor([share, centre, corner], dtype=torch.float64)
    error = (expected * (1 - expected) / (64 * 512)).sqrt()
    assert ((found - expected).abs() < 4 * error + 5e-4).all()


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7])
def test_seeds_grow_as_a_max_pool_would_let_them(block):
    seeds = torch.rand(4, 3, 8, 6, generator=KEY.generator()) < 0.1
    padded = F.pad(seeds.float(), [block - 1] * 4)
    assert torch.equal(grow(seeds, block), F.max_pool2d(padded, block, 1) > 0)


@pytest.mark.parametrize(("height", "width", "block"), [(14, 14, 7), (9, 6, 4), (9, 6, 7)])
def test_what_is_dropped_is_a_union_of_squares_that_fit_in_the_map(height, width, block):
    gone = zeros(layer(block_size=block, keep_prob=0.8), 16, 32, height, width)
    side = min(block, height, width)
    whole = -F.max_pool2d(-gone.float(), side, 1) > 0  # places whose square is dropped entirely
    assert whole.any()
    assert torch.equal(grow(whole, side), gone)


@pytest.mark.parametrize(("side", "block"), [(7, 7), (2, 7), (1, 7), (1, 1)])
def test_a_square_as_large_as_the_map_drops_the_channel(side, block):
    gone = zeros(layer(block_size=block), 64, 64, side, side).flatten(2)
    assert torch.equal(gone.all(2), gone.any(2))
    assert gone.double().mean().item() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("side", [7, 14])
def test_samples_and_channels_have_masks_of_their_own(side):
    gone = zeros(layer(keep_prob=0.5), 8, 8, side, side).flatten(2)
    assert len(gone.flatten(0, 1).unique(dim=0)) > (1 if side == 7 else 32)
    assert len(gone.unique(dim=0)) == len(gone.unique(dim=1)) + len(gone) - gone.shape[1] == 8


@pytest.mark.parametrize("side", [7, 14])
def test_a_constant_keeps_its_mean(side):
    y = layer()(torch.full((16, 64, side, side), 3.0))
    assert y.double().mean().item() == pytest.approx(3.0, rel=1e-6)
    assert y.unique().numel() == 2


def test_the_gradient_passes_where_nothing_is_dropped_with_the_same_factor():
    x = torch.randn(4, 8, 14, 14, generator=KEY.generator(), requires_grad=True)
    y = layer()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_all_dropped_is_zero_and_not_nan():
    x = torch.ones(2, 3, 7, 7, requires_grad=True)
    y = layer(keep_prob=1e-9)(x)
    y.sum().backward()
    assert not y.any()
    assert not x.grad.any()


@pytest.mark.parametrize(
    ("start", "end", "progress", "expected"),
    [(1.0, 0.9, 0.0, 1.0), (1.0, 0.9, 0.5, 0.95), (1.0, 0.9, 1.0, 0.9), (0.9, 0.7, 0.0, 0.9), (0.9, 0.7, 0.5, 0.8)],
)
def test_the_share_that_is_kept_is_linear_in_the_progress(start, end, progress, expected):
    drop = layer(task=late_task(progress), start_keep_prob=start, keep_prob=end)
    gone = zeros(drop, 64, 512, 7, 7).double().mean().item()
    assert gone == pytest.approx(1 - expected, abs=0.008)


def test_the_layer_follows_the_clock_of_the_run():
    task = late_task(0.0)
    drop, x = layer(task=task), torch.ones(4, 64, 7, 7)
    assert drop(x) is x
    task.clock.progress.fill_(0.99)
    assert (drop(x) == 0).any()


@pytest.mark.parametrize("params", [{"keep_prob": 1.0}, {"keep_prob": 0.5, "start_keep_prob": 1.0}])
def test_nothing_is_dropped_while_everything_is_to_be_kept(params):
    x = torch.ones(4, 64, 7, 7)
    progress = 0.0 if params["keep_prob"] < 1 else 1.0
    assert layer(task=late_task(progress), **params)(x) is x


def test_evaluation_drops_nothing():
    x = torch.ones(4, 64, 7, 7)
    assert layer().eval()(x) is x


@pytest.mark.parametrize(
    ("other", "same"), [({}, True), ({"path": "net.there"}, False)], ids=["same place", "another place"]
)
def test_the_place_and_the_step_name_the_mask(other, same):
    task = late_task()
    masks = [zeros(layer(task=task, **place), 4, 8, 14, 14) for place in ({}, other)]
    assert torch.equal(*masks) is same
    task.noise.key = KEY.fold("next step")
    assert not torch.equal(zeros(layer(task=task), 4, 8, 14, 14), masks[0])


def scales(depths: list[int], **more) -> list[set[float]]:
    """Return the factors of the layers of each stage, and how many there are."""
    spec = network_settings(name="n", depths=depths, width=8, **more)
    model = build_model(spec, parts_of("dropblock"), num_classes=5, image_size=32)
    return [{m.scale for m in stage.modules() if hasattr(m, "scale")} for stage in model.stages]


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([1, 1, 1, 1], [set(), set(), {0.25}, {1.0}]),
        ([1, 1, 1], [set(), {0.25}, {1.0}]),
        ([1, 1], [{0.25}, {1.0}]),
        ([1], [{1.0}]),
    ],
)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_last_two_stages_drop_and_the_last_but_one_a_quarter_as_often(depths, expected, block):
    assert scales(depths, block=block) == expected


def test_every_norm_of_a_late_block_and_of_its_projection_is_followed_by_a_mask():
    with torch.device("meta"):
        model = build_model(RESNET50, parts_of("dropblock"), num_classes=10, image_size=224)
    masks = [m for m in model.modules() if hasattr(m, "scale")]
    assert len(masks) == (3 * 6 + 1) + (3 * 3 + 1)
    assert len({m.place for m in masks}) == len(masks)


def test_the_stem_of_a_network_of_one_stage_has_no_mask():
    assert isinstance(layer(stage=0, stages=1), nn.Identity)


@pytest.mark.parametrize("side", [7, 14])
def test_the_memory_format_stays_and_moves_no_draw(side):
    x = torch.randn(16, 64, side, side, generator=KEY.generator())
    last = layer()(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, layer()(x))


def test_in_half_precision_the_factor_is_not_rounded_before_it_multiplies():
    x = torch.randn(16, 64, 14, 14, generator=KEY.generator()).bfloat16()
    y = layer()(x)
    assert y.dtype is torch.bfloat16
    assert torch.equal(y, layer()(x.float()).bfloat16())
    assert not torch.equal(y, x * layer()(torch.ones_like(x)))


def test_the_part_is_the_drop_of_feature_maps():
    (edit,) = create("dropblock").edits(make_task())
    assert edit.part is Part.DROP
    assert isinstance(Parts({})[Part.DROP](8, site(stage=4)), nn.Identity)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"block_size": 0}, r"^tricks\.dropblock\.block_size=0: must be at least 1$"),
        ({"keep_prob": 0.0}, r"^tricks\.dropblock\.keep_prob=0\.0: must be in \(0, 1\]$"),
        ({"start_keep_prob": 1.1}, r"^tricks\.dropblock\.start_keep_prob=1\.1: must be in \(0, 1\]$"),
    ],
)
def test_a_hyper_parameter_out_of_range_is_refused(params, message):
    with pytest.raises(UserError, match=message):
        create("dropblock", **params)
