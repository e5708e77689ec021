import pytest
import torch
from torch import nn
from torchvision.ops import stochastic_depth

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.trick import Task
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, TINY, make_task, parts_of, site

IDENTITIES = [{"rate": 0.0}]


def layer(block: int = 9, blocks: int = 10, *, task: Task | None = None, path: str = "net.here", **params) -> nn.Module:
    (edit,) = create("stochastic_depth", **params).edits(task or make_task())
    return edit.build(site(block=block, blocks=blocks, path=path))


def survivals(mode: str, rate: float) -> list[float]:
    spec = network_settings(name="n", depths=[1, 2, 1], width=4)
    parts = parts_of("stochastic_depth", mode=mode, rate=rate)
    model = build_model(spec, parts, num_classes=5, image_size=16)
    return [block.keep.survival for stage in model.stages for block in stage]


@pytest.mark.parametrize(
    ("mode", "rate", "expected"),
    [("linear", 0.2, [0.95, 0.9, 0.85, 0.8]), ("linear", 0.5, [0.875, 0.75, 0.625, 0.5]), ("uniform", 0.2, [0.8] * 4)],
)
def test_the_survival_of_the_blocks_of_a_network(mode, rate, expected):
    assert survivals(mode, rate) == pytest.approx(expected)


@pytest.mark.parametrize(("block", "rate", "dropped"), [(9, 0.2, 0.2), (4, 0.2, 0.1), (9, 0.5, 0.5)])
def test_so_many_samples_lose_their_branch(block, rate, dropped):
    gone = layer(block, rate=rate)(torch.ones(20_000, 1, 1, 1)) == 0
    assert gone.double().mean().item() == pytest.approx(dropped, abs=0.012)


def test_a_branch_is_zero_or_divided_by_its_survival_as_in_torchvision():
    x = torch.randn(64, 3, 2, 2, generator=KEY.generator())
    y = layer(rate=0.2)(x)
    gone = y.flatten(1).eq(0).all(1)
    assert 0 < gone.sum() < 64
    torch.testing.assert_close(y[~gone], x[~gone] / 0.8)
    torch.manual_seed(0)
    theirs = stochastic_depth(x, 0.2, "row")
    kept = theirs.flatten(1).ne(0).any(1)
    torch.testing.assert_close(theirs[kept & ~gone], y[kept & ~gone])


def test_the_expectation_is_the_branch():
    y = layer(rate=0.5)(torch.ones(40_000, 1, 1, 1))
    assert y.mean().item() == pytest.approx(1, abs=0.02)


def test_evaluation_skips_nothing():
    x = torch.ones(64, 1, 1, 1)
    assert layer().eval()(x) is x


@pytest.mark.parametrize("mode", ["linear", "uniform"])
def test_without_a_rate_there_is_no_layer(mode):
    assert isinstance(layer(rate=0.0, mode=mode), nn.Identity)


def test_the_place_and_the_step_name_the_samples():
    task, x = make_task(), torch.ones(256, 1, 1, 1)
    here, again, there = (layer(task=task, path=path)(x) for path in ("net.here", "net.here", "net.there"))
    assert torch.equal(here, again)
    assert not torch.equal(here, there)
    task.noise.key = KEY.fold("next step")
    assert not torch.equal(layer(task=task)(x), here)


def test_a_skipped_block_is_its_shortcut():
    model = build_model(TINY, parts_of("stochastic_depth", rate=0.9, mode="uniform"), num_classes=5, image_size=16)
    block = model.stages[1][0]
    x = torch.randn(64, 16, 8, 8, generator=KEY.generator())
    expected = block.act(block.shortcut(x).clone())
    skipped = torch.isclose(block(x), expected).flatten(1).all(1)
    assert 48 <= skipped.sum() < 64


def test_half_precision_and_the_memory_format_stay():
    x = torch.ones(64, 4, 2, 2, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    y = layer(rate=0.3)(x)
    assert y.dtype is torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert y.unique().tolist() == [0, torch.tensor(1 / 0.7).bfloat16().item()]


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(UserError, match=rf"^tricks\.stochastic_depth\.rate={rate}: must be in \[0, 1\)$"):
        create("stochastic_depth", rate=rate)
