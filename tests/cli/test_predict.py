"""bot-predict as a user runs it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_commands import FAST, one_line
from tests.cli.test_eval import NETWORK, the_json
from tests.helpers import rewrite_record

CLASSES = ["a", "b|c", "d"]
TRAIN = [*(argument for argument in FAST if "batch" not in argument), "data=imagefolder", "data.root=photos"]
TRAIN += ["image_size=8", "batch_size=6", "num_classes=4", "lr=0.01"]


@pytest.fixture
def photos(tmp_path):
    """A folder of photographs of several shapes, some of them turned or transparent."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 6)):
        for number, name in enumerate(CLASSES):
            (tmp_path / "photos" / split / name / "more").mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 256, (9 + k, 17 - k, 3 + k % 2), np.uint8) // (1 + number)
                turned = Image.Exif()
                turned[274] = 1 + k
                place = tmp_path / "photos" / split / name / ("more" if k % 2 else "") / f"{k}.png"
                Image.fromarray(pixels).save(place, exif=turned)
    return tmp_path / "photos"


@pytest.fixture
def trained(photos, train_once):
    return train_once(*TRAIN)


def predicted(done):
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_predictions_of_the_validation_folder_have_exactly_the_top1_of_the_run(bot, trained):
    found = predicted(bot("bot-predict", "run=last", "images=photos/val", "format=json"))
    right = [image["class"] == Path(image["file"]).relative_to("photos/val").parts[0] for image in found["images"]]
    assert (len(right), found["run"], found["weights"]) == (18, trained["id"], "last")
    assert 100 * np.mean(right) == trained["metrics"]["last"]["top1"]
    assert 0 < sum(right) < 18  # or the comparison would show nothing


def test_a_stream_of_larger_images_has_the_top1_of_bot_eval_and_names_what_it_skips(bot, trained, photos):
    size = ["image_size=70", "format=json", "data.on_error=skip"]
    (photos / "val" / "a" / "0.png").write_bytes(b"no image")
    evaluated = the_json(bot("bot-eval", "run=last", *size))
    done = bot("bot-predict", "run=last", "images=photos/val", *size[:2], "runtime.eval_batch_size=4")
    found = predicted(done)
    right = [image["class"] in Path(image["file"]).parts for image in found["images"]]
    assert (len(right), 100 * np.mean(right)) == (17, evaluated["top1"])
    assert ["photos/val/a/0.png" in line for line in found["skipped"]] == [True]
    assert "skipped 1 image that cannot be read; 17 are predicted" in done.err
    assert "PPM and WebP)\n" in done.err  # and no advice to skip what was skipped


def test_each_image_has_its_most_probable_classes_in_every_format(bot, trained):
    line = ["bot-predict", "run=last", "images=[photos/val/a/0.png,photos/val/d]", "top=4"]
    (first, *others) = predicted(bot(*line, "format=json"))["images"]
    assert (first["file"], len(others)) == ("photos/val/a/0.png", 6)
    shares = [each["probability"] for each in first["top"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)  # of all four outputs
    assert {each["number"]: each["class"] for each in first["top"]} == {0: "a", 1: "b|c", 2: "d", 3: None}
    assert {key: first[key] for key in ("class", "number", "probability")} == first["top"][0]
    rows = list(csv.DictReader(io.StringIO(bot(*line, "format=csv").out)))
    assert [(row["file"], float(row["probability"])) for row in rows] == [
        (image["file"], image["probability"]) for image in (first, *others)
    ]
    assert rows[0]["number_4"] == str(first["top"][3]["number"])
    text = bot(*line).out.splitlines()
    assert text[0].split() == ["image", "class", "%", "next"]
    assert f"{100 * shares[0]:.1f}" in text[2]
    assert "b&#124;c" in bot(*line, "format=markdown").out
    assert "class 3" in bot(*line).out


def test_the_table_fits_the_terminal(bot, trained, photos, monkeypatch):
    deep = photos / ("long" * 20) / "end.png"
    deep.parent.mkdir()
    (photos / "val" / "a" / "0.png").rename(deep)
    monkeypatch.setenv("COLUMNS", "60")
    lines = bot("bot-predict", "run=last", f"images={deep}", "top=4").out.splitlines()
    assert 50 < max(map(len, lines)) <= 60
    assert "end.png" in "".join(lines)


def test_a_sheet_shows_the_images(bot, trained, tmp_path):
    done = bot("bot-predict", "run=last", "images=photos/val", "show=sheet.png")
    assert done.err.splitlines()[-1] == "bot-predict: sheet.png shows 18 images as the network sees them"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 100 + 4, 3 * (96 + 4 + 34) + 4)


def test_averaged_weights_are_taken_where_they_are_named(bot, trained, tmp_path):
    folder = tmp_path / "results" / "runs" / trained["id"]
    (folder / "ema.weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    rewrite_record(folder, lambda record: record["metrics"].update(ema=record["metrics"]["last"]))
    last = bot("bot-predict", "run=last", "images=photos/val", "format=json")
    assert "these are the last weights; weight_set=ema takes averaged ones" in last.err
    ema = bot("bot-predict", "run=last", "images=photos/val", "weight_set=ema", "format=json")
    assert (predicted(ema)["weights"], ema.err) == ("ema", "")
    wrong = bot("bot-predict", "run=last", "images=photos/val", "weight_set=emu")
    assert "weight_set=emu: the weights are of last, ema" in one_line(wrong)


def test_the_images_of_the_run_are_not_needed(bot, trained, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    assert len(predicted(bot("bot-predict", "run=last", "images=elsewhere/val/a", "format=json"))["images"]) == 6


def test_a_file_of_weights_names_its_classes_or_is_given_names(bot, trained, photos, tmp_path):
    weights = next(tmp_path.glob("results/runs/*/weights.safetensors"))
    images = ["images=photos/val", "format=json"]
    run = predicted(bot("bot-predict", "run=last", *images))
    line = ["bot-predict", "model=resnet14_laptop", *(a for a in NETWORK if a.startswith("model.")), "data=imagefolder"]
    line += ["image_size=8", *images]
    assert predicted(bot(*line, f"weights={weights}"))["images"] == run["images"]  # by the record next to it
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(weights.read_bytes())
    done = bot(*line, f"weights={alone}")
    assert "the names of the classes are not known" in done.err
    assert [i["number"] for i in predicted(done)["images"]] == [i["number"] for i in run["images"]]
    assert {i["class"] for i in predicted(done)["images"]} == {None}
    (tmp_path / "names.txt").write_text("a\nb|c\nd\nnone of them\n")
    named = predicted(bot(*line, f"weights={alone}", "classes=names.txt"))
    assert [i["class"] for i in named["images"]] == [i["class"] or "none of them" for i in run["images"]]
    of_data = predicted(bot(*line, f"weights={alone}", "data.root=photos", "num_classes=4"))
    assert [i["class"] for i in of_data["images"]] == [i["class"] for i in run["images"]]
    (tmp_path / "two.txt").write_text('["a", "b"]')
    message = "classes=two.txt: names 2 classes, and the network has 4 outputs"
    assert message in one_line(bot(*line, f"weights={alone}", "classes=two.txt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which network? type run=ID"),
        (["run=last"], "which images? type images=FOLDER"),
        (["run=last", "images=phots"], "images=phots: no such file or folder; did you mean 'photos'?"),
        (["run=last", "images=empty"], "images=empty: holds no images ("),
        (["run=last", "images=names.txt"], "names.txt cannot be read as an image"),
        (["run=last", "images=photos", "top=0"], "top=0: must be a whole number, 1 or more"),
        (["run=last", "images=photos", "top=9"], "top=9: the network has 4 outputs; type top=4"),
        (["run=last", "images=photos", "epochs=9"], "'epochs=9' cannot be set with run="),
        (["run=last", "images=photos", "show=a.jpg"], "show=a.jpg: the name must end in .png"),
        (["run=last", "images=photos", "weights=a.pth"], "run= and weights= are two networks"),
        (["run=last", "images=photos", "classes=names.txt"], "classes= is for weights="),
        (["weights=names.txt", "images=photos"], "which size and normalisation had its images?"),
        (["weights=names.txt", "images=photos", "data=cifar10"], "names.txt: refused"),
        (["weights=a.pth", "images=photos", "weight_set=ema", "data=cifar10"], "weight_set= is for run="),
        (["run=last", "images=photos/train/a/0.png", "image_size=0"], "image_size=0: must be in 2.."),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, trained, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir(exist_ok=True)
    (tmp_path / "names.txt").write_text("a")
    assert message in one_line(bot("bot-predict", *arguments))


@pytest.mark.parametrize(("text", "message"), [("a\n\nb", "name 2 of 3 is empty"), ("[1]", "is no list of classes")])
def test_a_damaged_list_of_classes_is_one_line(bot, trained, tmp_path, text, message):
    weights = next(tmp_path.glob("results/runs/*/weights.safetensors"))
    (tmp_path / "names.txt").write_text(text)
    line = [f"weights={weights}", "images=photos", "data=cifar10", "classes=names.txt"]
    assert f"classes=names.txt: {message}" in one_line(bot("bot-predict", *line))
