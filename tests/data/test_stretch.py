"""data.crop=stretch: images that are resized to a square whatever their shape, as retrieval in Lee et al. 2020."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data import transforms as t
from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.loaders import EvalBatches, TrainBatches, bytes_in_order, eval_loader, train_loader
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.preparation import Reading
from bagoftricks.data.sources import FileSplit, MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.rng import Key
from bagoftricks.run.treatment import treatment
from bagoftricks.settings import dataset_settings

STRETCH = dataset_settings(crop="stretch", mean=[0.0] * 3, std=[1.0] * 3)
WHOLE, WINDOW = [0.1, 0.9, 0.9, 0.6], [0.9, 0.5, 0.25, 0.6]  # the last number flips below 1/2


def noise(height, width):
    return torch.randint(0, 256, (3, height, width), generator=Key(0).generator(), dtype=torch.uint8)


def test_half_of_the_images_are_shown_whole_and_of_the_others_a_window_of_a_larger_square():
    image, augment = noise(90, 140), Augment.from_settings(STRETCH, 56, Key(0))
    whole, large = (tv.resize(image, [side, side], antialias=True) for side in (56, 64))
    assert torch.equal(augment.square(image, WHOLE), whole)
    top, left = int(0.5 * 9), int(0.25 * 9)  # nine places of a window of 56 in 64
    window = large[:, top : top + 56, left : left + 56]
    assert torch.equal(augment.square(image, WINDOW), window)
    assert torch.equal(augment.square(image, [*WINDOW[:3], 0.4]), window.flip(2))


def test_the_draws_are_uniform_and_reach_every_window():
    augment = Augment.from_settings(STRETCH, 224, Key(3))
    windows = [t.stretch_window(row, 224) for row in augment.draws(0, [(0, np.arange(4000))]).tolist()]
    cut = np.array([(top, left) for side, top, left in windows if side == 256])
    assert abs(len(cut) - 2000) < 4 * 4000**0.5 / 2  # four deviations
    assert {side for side, *_ in windows} == {224, 256}
    assert cut.min(0).tolist() == [0, 0]
    assert cut.max(0).tolist() == [32, 32]


def test_validation_images_are_resized_whole_and_cut_only_where_a_larger_side_is_asked_for():
    image = noise(90, 140)
    assert torch.equal(Augment.plain(STRETCH, 56).square(image, ()), tv.resize(image, [56, 56], antialias=True))
    centre = tv.center_crop(tv.resize(image, [64, 64], antialias=True), [56, 56])
    assert torch.equal(Augment.plain(STRETCH, 56, 64).square(image, ()), centre)


@pytest.mark.parametrize("draws", [WHOLE, WINDOW])
@pytest.mark.parametrize("how", ["full", "scaled"])
def test_an_image_is_decoded_as_far_as_it_is_looked_at(tmp_path, how, draws):
    across, down = np.meshgrid(np.arange(900), np.arange(600))
    pixels = np.stack([across * 255 // 900, down * 255 // 600, (across + down) % 97], 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    split = FileSplit(np.array([str(tmp_path / "a.jpg")]), np.zeros(1, np.int64))
    data = dataset_settings(crop="stretch", decode=how)
    augment = Augment.from_settings(data, 64, Key(0))
    seen, expected = augment.square_of(split, 0, draws), augment.square(split.image(0), draws)
    difference = (seen[:2].float() - expected[:2].float()).abs()
    assert difference.mean() < (2 if how == "scaled" else 1e-9)
    assert difference.max() < (8 if how == "scaled" else 1e-9)


@pytest.mark.parametrize("size", [16, 72])  # validated in memory, and in a stream
def test_small_and_large_images_are_prepared_alike(tmp_path, size):
    images = [noise(80 + i, 100) for i in range(6)]
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    split = FileSplit(np.array([str(tmp_path / f"{i}.png") for i in range(6)]), np.arange(6))
    finish, reading = Finish(STRETCH, 6, torch.device("cpu"), channels_last=True), Reading(workers=0)
    key = Key(1)
    train = train_loader(split, STRETCH, finish, TrainBatches(size=size, batch_size=3, key=key), reading)
    augment = Augment.from_settings(STRETCH, size, key)
    for batch in train.epoch(2):
        for image, target in zip(batch.images, batch.targets, strict=True):
            row = int(target.argmax())
            draws = augment.draws(2, [(0, np.array([row]))])[0].tolist()
            assert torch.equal(image.to(torch.uint8), augment.square(images[row], draws))
    val = eval_loader(split, STRETCH, finish, EvalBatches(size=size, batch_size=6), reading)
    assert isinstance(train, StreamLoader)
    assert isinstance(val, MemoryLoader) == (size == 16)
    (batch,) = val.epoch(0)
    expected = torch.stack([tv.resize(image, [size, size], antialias=True) for image in images])
    assert torch.equal(batch.images.to(torch.uint8), expected)
    assert torch.equal(train.sample(6).to(torch.uint8), expected)
    ((_, seen),) = bytes_in_order(split, STRETCH, size=size, batch_size=6, workers=0)
    assert torch.equal(seen, expected)


def test_images_in_memory_are_stretched_in_a_stream():
    split = MemorySplit(torch.stack([noise(28, 28)] * 4), np.arange(4))
    finish = Finish(STRETCH, 4, torch.device("cpu"), channels_last=True)
    loader = train_loader(split, STRETCH, finish, TrainBatches(size=28, batch_size=4, key=Key(0)), Reading(workers=0))
    (batch,) = loader.epoch(0)
    assert isinstance(loader, StreamLoader)
    assert batch.images.shape == (4, 3, 28, 28)


def test_the_words_say_what_happens():
    from bagoftricks.data.finding import find_dataset
    from bagoftricks.run.check import check

    line = ["preset=digits", "data.crop=stretch", "image_size=224"]
    checked = check(compose_settings(line), train=False)
    words = treatment(checked, find_dataset(checked.settings.data))
    assert words["training crop"] == (
        "both sides to 224, whatever the shape; half of the time to 256, 224 x 224 at random"
    )
    assert words["validation"] == "both sides to 224, whatever the shape"
    assert words["colours"] == "as they are"
    sides = check(compose_settings([*line, "+refine=test_size"]), train=False)
    words = treatment(sides, find_dataset(sides.settings.data))
    assert words["validation"] == "both sides to 256, whatever the shape"
