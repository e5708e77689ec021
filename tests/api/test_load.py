"""``bot.load``: the network, its input and its predictions are those of the run's own evaluation and of bot-predict."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagoftricks as bot
from bagoftricks.cli import predict
from bagoftricks.data import find_dataset
from bagoftricks.data.augment import Augment
from bagoftricks.data.given import given_square
from bagoftricks.errors import DataError, UserError
from tests.api.conftest import FAST


@pytest.fixture(scope="session")
def digits():
    """The validation images of the trained run, (N, 3, 8, 8) in bytes, with their labels."""
    from bagoftricks.settings import dataset_settings

    split = find_dataset(dataset_settings(limit=320)).val
    return split.images, split.labels


def same_as_bot_predict(loaded, images, capsys, *arguments):
    """Compare with the command for image files; return the predictions."""
    assert predict.main([f"run={loaded.record.id}", "images=images", "format=json", "top=2", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    ours = loaded.predict(images, top=2)
    theirs = [[(each["class"], each["probability"]) for each in image["top"]] for image in found]
    assert [[(each.name, each.probability) for each in image.top] for image in ours] == theirs
    return ours


@pytest.mark.parametrize("weights", ["last", "ema"])
def test_predictions_are_those_of_bot_predict_and_of_the_runs_evaluation(trained, digits, here, capsys, weights):
    images, labels = digits
    loaded = trained.load(weights=weights)
    found = loaded.predict(images)
    right = [each.number == label for each, label in zip(found, labels, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(trained.record.metrics[weights].top1)
    assert f"weights={weights!r}" in repr(loaded)
    (here / "images").mkdir()
    paths = [here / f"images/{i}.png" for i in range(9)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    same = same_as_bot_predict(loaded, paths, capsys, f"store={trained.store}", f"weight_set={weights}")
    assert [each.number for each in same] == [each.number for each in found[:9]]
    assert same[0].name == loaded.classes[same[0].number]


def test_the_network_is_the_evaluated_one_with_its_test_time_augmentation(trained, digits):
    loaded = trained.load()
    images = torch.stack([loaded.transform(image) for image in digits[0][:4]])
    assert not loaded.network.training
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(images), loaded.logits(images))
        flipped = loaded.network(images.flip(3))
    torch.testing.assert_close(flipped, loaded.logits(images))  # tta_flip


def test_a_run_is_named_by_its_beginning_or_its_age(trained):
    names = [trained.id, trained.id[:6], "last"]
    assert {bot.load(name, store=trained.store).record.id for name in names} == {trained.id}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"run": "zzz"}, "run=zzz: .* has no finished run of this id"),
        ({"run": "last", "weights": "emma"}, "weight_set=emma: the weights are of last, ema"),
        ({"run": "last", "device": "gpu"}, "runtime.device=gpu: must be auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(trained, asked, message):
    with pytest.raises(UserError, match=message):
        bot.load(**asked, store=trained.store)


def test_images_that_cannot_be_read_are_one_line(trained, unchecked):
    loaded = trained.load()
    Path("text.jpg").write_text("no image")
    for image, message in (
        ("missing.png", "^missing.png: no such file"),
        ("", "^an image with an empty name: no such file"),
        ("text.jpg", "text.jpg cannot be read as an image"),
        (b"", "an image of 0 bytes cannot be read as an image .an empty file"),
        (Image.new("F", (8, 8)), "mode F cannot be read .*convert it to RGB"),
    ):
        with pytest.raises(DataError, match=message):
            loaded.transform(image)
    for image in (np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), torch.zeros(3, 0, 8, dtype=torch.uint8), 3):
        with pytest.raises(UserError, match="give a path, the bytes"):
            loaded.transform(image)
    with pytest.raises(UserError, match="top=11: must be 1 to 10"):
        loaded.predict([], top=11)
    assert loaded.predict([]) == []


def test_every_form_of_an_image_is_the_same_image(here):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    plain = Augment(16, None, short_side=20)
    Image.fromarray(pixels).save("plain.png")
    png = Path("plain.png").read_bytes()
    forms = [pixels, torch.from_numpy(pixels).permute(2, 0, 1), Image.fromarray(pixels), "plain.png", png]
    squares = [given_square(form, plain, 10**6) for form in [*forms, Path("plain.png"), bytearray(png)]]
    assert all(torch.equal(square, squares[0]) for square in squares)
    grey = given_square(pixels[..., 0], plain, 10**6)
    assert torch.equal(grey[0], grey[1])
    turned = Image.Exif()
    turned[274] = 6
    for name, save in (("turned.jpg", {"exif": turned}), ("clear.png", {}), ("p.gif", {}), ("deep.png", {})):
        image = Image.fromarray(pixels)
        image = image.convert("RGBA") if name == "clear.png" else image
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if name == "deep.png" else image
        if image.mode == "RGBA":
            image.putalpha(Image.fromarray(pixels[..., 1]))
        image.save(name, **save)
        with Image.open(name) as opened:
            assert torch.equal(given_square(opened, plain, 10**6), given_square(name, plain, 10**6)), name
    with pytest.raises(DataError, match="more than data"):
        given_square("plain.png", plain, 100)


def test_photographs_are_prepared_as_for_validation_at_a_reduced_scale_too(here, photos, capsys):
    settings = {"data": "imagefolder", "data.root": "photos", "data.decode": "scaled", "image_size": 32}
    fast = {**FAST, "data": "imagefolder", "batch_size": 4}
    del fast["data"]
    run = bot.train(**settings, **fast)
    (here / "images").mkdir()
    paths = sorted(photos.glob("val/*/*.jpg"))
    for number, path in enumerate(paths):
        (here / f"images/{number}.jpg").write_bytes(path.read_bytes())
    found = same_as_bot_predict(run.load(), [path.read_bytes() for path in paths], capsys)
    right = [each.name == path.parent.name for each, path in zip(found, paths, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(run.top1)
