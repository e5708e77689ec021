"""bot-predict with runs of other tasks than classification, as a user runs it."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_commands import FAST, one_line
from tests.helpers import rewrite_record

CLASSES = ["ant", "bee", "cat", "dog"]
TRAIN = [*(argument for argument in FAST if "batch" not in argument), "data=imagefolder", "data.root=photos"]
TRAIN += ["image_size=8", "batch_size=6", "task=retrieval", "task.embedding=6", "data.zero_shot=2", "lr=0.01"]
UNSEEN = [f"photos/{split}/{name}" for split in ("train", "val") for name in CLASSES[2:]]


@pytest.fixture
def photos(tmp_path):
    """Photographs of four classes, of which a network trains on two; a class has a tint of its own."""
    rng = np.random.default_rng(0)
    tints = rng.integers(0, 16, (len(CLASSES), 1, 1, 3))
    for split, count in (("train", 4), ("val", 3)):
        for tint, name in zip(tints, CLASSES, strict=True):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = tint + rng.integers(0, 240, (8, 8, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    return tmp_path / "photos"


@pytest.fixture
def trained(photos, train_once):
    return train_once(*TRAIN)


def found(done):
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_the_share_of_right_neighbours_is_the_recall_of_the_run(bot, trained):
    """None of the images is its own neighbour, though all are in the gallery."""
    line = ["bot-predict", "run=last", f"images=[{','.join(UNSEEN)}]", "top=4", "format=json"]
    shown = found(bot(*line))
    assert (shown["run"], shown["weights"], shown["gallery"]) == (trained["id"], "last", 14)
    near = [image["neighbours"] for image in shown["images"]]
    recall = trained["metrics"]["last"]["others"]
    assert 100 * np.mean([n[0]["right"] for n in near]) == pytest.approx(recall["recall_at_1"])
    assert 100 * np.mean([any(k["right"] for k in n) for n in near]) == pytest.approx(recall["recall_at_4"])
    assert 0 < recall["recall_at_1"] < 100  # or the comparison would show nothing
    assert all(image["file"] not in {n["file"] for n in image["neighbours"]} for image in shown["images"])
    for neighbours in near:
        cosines = [n["cosine"] for n in neighbours]
        assert cosines == sorted(cosines, reverse=True)
        assert -1 <= cosines[-1] <= cosines[0] <= 1 + 1e-6


def test_a_gallery_of_ones_own_has_the_classes_of_its_folders(bot, trained, photos):
    """A query outside of folders with the names of classes has none, and no neighbour of it is right or wrong."""
    copy = photos.parent / "query.png"
    copy.write_bytes((photos / "val" / "dog" / "1.png").read_bytes())
    line = ["bot-predict", "run=last", "images=query.png", "gallery=[photos/train,photos/val/dog/1.png]", "top=99"]
    (image,) = found(bot(*line, "format=json"))["images"]
    assert image["class"] is None
    assert len(image["neighbours"]) == 17
    first = image["neighbours"][0]
    assert (first["file"], first["class"], first["right"]) == ("photos/val/dog/1.png", "dog", None)
    assert first["cosine"] == pytest.approx(1)
    (row,) = csv.DictReader(io.StringIO(bot(*line, "format=csv").out))
    assert (row["nearest"], row["nearest_class"]) == ("photos/val/dog/1.png", "dog")
    assert row["nearest_17"] == image["neighbours"][16]["file"]
    text = bot(*line[:-1], "top=2").out.splitlines()
    assert text[0].split() == ["image", "nearest", "its", "file", "next"]
    assert text[2].startswith("query.png  dog 1.000")
    flat = found(bot(*line[:3], "gallery=photos/train/ant", "format=json"))["images"][0]["neighbours"]
    assert [n["class"] for n in flat] == [None] * 4  # the images of a folder that was named have no class


def test_a_sheet_shows_the_query_and_marks_its_neighbours(bot, trained, tmp_path):
    done = bot("bot-predict", "run=last", f"images=[{','.join(UNSEEN)}]", "top=3", "show=sheet.png", "format=json")
    assert "sheet.png shows 14 images, each with its nearest ones to the right" in done.err
    shown = found(done)["images"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    across, down = 96 + 4, 96 + 4 + 2 * 17
    assert pixels.shape == (14 * down + 4, 4 * across + 4, 3)
    for row, image in enumerate(shown):
        for column, near in enumerate(image["neighbours"], 1):
            frame = pixels[4 + row * down + 50, 4 + column * across + 1]
            assert tuple(frame) == ((0, 150, 60) if near["right"] else (200, 30, 30))


def test_files_that_cannot_be_read_are_named(bot, trained, photos):
    (photos / "val" / "dog" / "2.png").write_bytes(b"no image")
    done = bot("bot-predict", "run=last", "images=photos/val/dog", "gallery=photos/val/cat", "format=json")
    assert len(found(done)["images"]) == 2
    assert "skipped: photos/val/dog/2.png" in done.err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["images=nowhere"], "images=nowhere: no such file or folder"),
        (["images=photos/val/dog", "gallery=nowhere"], "gallery=nowhere: no such file or folder"),
        (["images=photos/val/dog", "galery=photos"], "did you mean 'gallery'"),
    ],
)
def test_mistakes_are_one_line(bot, trained, line, why):
    assert why in one_line(bot("bot-predict", "run=last", *line))


def test_other_tasks_and_files_of_weights_say_what_is_possible(bot, photos, train_once, tmp_path):
    classes = train_once(*[a for a in TRAIN if not a.startswith(("task", "data.zero"))])
    images = "images=photos/val"
    assert "gallery= is for a run of task=retrieval" in one_line(
        bot("bot-predict", "run=last", images, "gallery=photos")
    )
    weights = next(tmp_path.glob("results/runs/*/weights.safetensors"))
    line = ["bot-predict", f"weights={weights}", "data=imagefolder", images]
    assert "gallery= is for run=" in one_line(bot(*line, "gallery=photos"))
    assert "task=retrieval: weights= predicts classes" in one_line(bot(*line, "task=retrieval"))
    folder = tmp_path / "results" / "runs" / classes["id"]
    rewrite_record(folder, lambda record: record["config"].update(task={"name": "segmentation"}))
    why = one_line(bot("bot-predict", "run=last", images))
    assert "its task is segmentation, and bot-predict shows classes or neighbours" in why
    assert f"bot-eval run={classes['id']} gives its scores" in why
