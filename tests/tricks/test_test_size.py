from dataclasses import asdict

import pytest
import torch

from bagoftricks.engines.warm import WarmData
from bagoftricks.errors import UserError
from bagoftricks.run.execute import execute
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.settings import Settings, network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import the_edit
from tests.run.test_execute import Quiet


def settings(tmp_path, **params):
    made = Settings(
        tricks={"test_size": params} if params else {}, model=network_settings(depths=[1, 1], width=4), epochs=1,
        batch_size=512, lr=0.05, store=str(tmp_path),
    )  # fmt: skip
    made.data.image_size, made.data.pad = 8, 1
    made.runtime.device = "cpu"
    return made


def validation_images(asked):
    _, val = loaders(prepare(asked), None)
    return torch.cat([batch.images for batch in val.epoch(0)])


@pytest.mark.parametrize(("params", "pixels"), [({}, 8), ({"size": 12}, 12), ({"size": 72}, 72)])
def test_the_validation_images_have_that_size_and_the_training_images_keep_theirs(tmp_path, params, pixels):
    asked = settings(tmp_path, **params)
    train, _ = loaders(prepare(asked), None)
    assert validation_images(asked).shape == (359, 3, pixels, pixels)
    assert next(iter(train.epoch(0))).images.shape[2:] == (8, 8)


@pytest.mark.parametrize("size", [8, 12])
def test_the_short_side_holds_for_small_images_too(tmp_path, size):
    centre = validation_images(settings(tmp_path, size=size, short_side=2 * size))
    whole = validation_images(settings(tmp_path, size=2 * size))
    assert torch.equal(centre, whole[:, :, size // 2 : -size // 2, size // 2 : -size // 2])


@pytest.mark.slow
def test_runs_of_one_process_share_the_data_but_not_its_size(tmp_path):
    warm, plain, larger = WarmData(), settings(tmp_path), settings(tmp_path, size=8)
    plain.data.image_size = larger.data.image_size = 4
    for asked in (plain, larger):
        train, val = loaders(prepare(asked, data=warm(asked)), None)
        assert next(iter(train.epoch(0))).images.shape[2:] == (4, 4)
        seen = torch.cat([batch.images for batch in val.epoch(0)])
        assert torch.equal(seen, validation_images(asked))
    assert warm(plain) is warm(larger)


def test_a_run_trains_as_without_it_and_is_evaluated_at_that_size(tmp_path):
    records = [execute(settings(tmp_path / name, **p), Quiet(), "") for name, p in [("a", {}), ("b", {"size": 12})]]
    small, large = records
    assert small.metrics["last"].loss != large.metrics["last"].loss
    assert large.cost.macs > 2 * small.cost.macs
    assert small.id != large.id
    assert asdict(large)["tricks"] == {"test_size": {"size": 12, "short_side": None}}


def test_assembled_cnns_numbers():
    edit = the_edit("test_size", short_side=292)
    assert (edit.size, edit.short_side) == (256, 292)
    assert the_edit("test_size").short_side is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 1}, "size=1: must be in 2..16384"),
        ({"short_side": 255}, "short_side=255: must be at least 256, the size"),
    ],
)
def test_values_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.test_size\.{message}$"):
        create("test_size", **params)
