"""What is refused before data is read."""

from dataclasses import replace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.run.check import check
from bagoftricks.settings import RuntimeSettings, Settings, dataset_settings, network_settings


def settings(tricks=None, image_size=8, batch_size=64, **model):
    return Settings(
        model=network_settings(**{"depths": [1, 1], "width": 4, **model}),
        image_size=image_size,
        batch_size=batch_size,
        tricks=tricks or {},
    )


def test_an_image_of_one_pixel_is_refused():
    with pytest.raises(UserError, match=r"^image_size=1: must be in 2\.\.16384$"):
        Settings(image_size=1)
    with pytest.raises(UserError, match=r"^data\.image_size=1: must be in 2\.\.16384$"):
        dataset_settings("digits", image_size=1)


def test_a_network_that_no_memory_holds_is_refused():
    with pytest.raises(UserError, match=r"resnet14_laptop: has [\d,]+ GiB of weights, and this machine has \d"):
        check(settings(width=65_536))
    with pytest.raises(UserError, match=r"more weights than can be counted: make it smaller"):
        check(settings(block="bottleneck", width=65_536, groups=65_536, group_width=65_536))


def test_images_that_no_memory_holds_are_refused():
    with pytest.raises(UserError, match="image_size=16384: 4096 images of 16384 x 16384 pixels at a time need more"):
        check(settings(image_size=16_384, batch_size=4096))


@pytest.mark.parametrize(
    ("tricks", "batch_size", "what"),
    [
        ({}, 1, "batch_size=1"),
        ({"stochastic_depth": {}}, 1, "batch_size=1"),
        ({"micro_batch": {"images": 8}}, 17, "tricks.micro_batch.images=8"),
    ],
)
def test_a_batch_norm_of_one_image_and_one_pixel_is_refused(tricks, batch_size, what):
    with pytest.raises(UserError, match=f"{what}: leaves one image for the statistics of batch norms"):
        check(settings(tricks, image_size=2, batch_size=batch_size))
    check(settings(tricks, image_size=8, batch_size=batch_size))
    check(settings(tricks, image_size=2, batch_size=batch_size + 1))


def test_a_device_needs_more_than_one_image_where_each_has_statistics_of_its_own():
    two = replace(settings(image_size=2, batch_size=2), runtime=RuntimeSettings(devices=2, sync_norm=False))
    with pytest.raises(UserError, match=r"^batch_size=2: leaves one image .*, or runtime\.sync_norm=true$"):
        check(two)
    check(replace(two, runtime=RuntimeSettings(devices=2)))
    check(replace(two, batch_size=4))
