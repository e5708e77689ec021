"""What is found out about data sets, sound and broken ones, and the picture of what the network sees."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.report.contact_sheet import write_sheet
from bagoftricks.report.inspection import inspection_text
from bagoftricks.run.inspection import inspect_data, look
from bagoftricks.run.seen import evenly, seen_rows
from bagoftricks.settings import Settings, dataset_settings, network_settings
from tests.run.test_execute import Quiet

COLOURS = {"blue": (0, 0, 200), "red": (200, 0, 0)}


def chosen(root, **data):
    made = Settings(model=network_settings(depths=[1], width=4), epochs=12, batch_size=4)
    plain = {"crop": "pad", "pad": 1, "jitter": "none", "pca": 0.0, "image_size": 8}
    made.data = dataset_settings(name="imagefolder", root=str(root), **{**plain, **data})
    made.runtime.workers, made.runtime.device = 0, "cpu"
    return made


def inspected(settings, limit=None):
    return inspect_data(look(settings), Quiet(), limit)


def painted(path, colour, side=8, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path, **save)


@pytest.fixture
def photos(tmp_path):
    """Two classes of plain colours, no image of which occurs twice."""
    for split, sides in (("train", (8, 9, 10, 12)), ("val", (7, 11))):
        for name, colour in COLOURS.items():
            for side in sides:
                painted(tmp_path / split / name / f"{side}.png", colour, side)
    return tmp_path


def test_a_sound_folder_has_its_counts_sizes_formats_and_colours(photos):
    found = inspected(chosen(photos))
    train, val = found.splits["train"], found.splits["val"]
    assert found.classes == ("blue", "red")
    assert (train.images, train.counts, val.images, val.counts) == (8, (4, 4), 4, (2, 2))
    assert (train.height.min, train.height.median, train.height.max) == (8, 9.5, 12)
    assert (train.enlarged, val.enlarged) == (0, 2)
    assert (train.formats, val.formats) == ({"PNG": 8}, {"PNG": 4})
    assert found.mean == (100, 0, 100)  # of 200 and 0, half each
    assert found.std == (100, 0, 100)
    assert (found.twins, found.wrong) == ((), ())
    assert found.notes == ("2 validation images are smaller than the network's images, and are enlarged",)
    assert found.treatment["epoch"] == "2 steps of 4 images"


def test_everything_that_is_wrong_is_found_at_once(photos):
    shutil.copy(photos / "train" / "red" / "8.png", photos / "train" / "blue" / "copy.png")  # two classes
    shutil.copy(photos / "train" / "red" / "9.png", photos / "val" / "red" / "copy.png")  # in both splits
    painted(photos / "train" / "red" / "again.bmp", COLOURS["red"], 10)  # in another format, the same pixels
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    (photos / "val" / "blue" / "cut.png").write_bytes((photos / "val" / "blue" / "7.png").read_bytes()[:40])
    (photos / "train" / "red" / "notes.txt").write_text("")
    found = inspected(chosen(photos))
    train, val = found.splits["train"], found.splits["val"]
    assert (len(train.broken), len(val.broken)) == (1, 1)
    assert "train/red/broken.png cannot be read as an image" in train.broken[0]
    assert train.formats == {"PNG": 9, "BMP": 1}
    assert [(twins.contradicts, twins.leaks, twins.classes) for twins in found.twins] == [
        (True, False, ("blue", "red")),
        (False, True, ("red",)),
        (False, False, ("red",)),
    ]
    wrong = "\n".join(found.wrong)
    assert "1 of 11 training images cannot be read" in wrong
    assert "1 of 6 validation images cannot be read" in wrong
    assert "1 images are in several classes" in wrong
    assert "1 validation images are training images too" in wrong
    assert "1 images occur more than once in their class" in found.notes[1]


def test_what_is_unusual_about_images_is_counted(photos):
    folder = photos / "train" / "red"
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(folder / "alpha.png")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(folder / "deep.png")
    Image.new("CMYK", (8, 8), (1, 2, 3, 4)).save(folder / "print.jpg")
    exif = Image.Exif()
    exif[274] = 6
    painted(folder / "turned.jpg", (9, 9, 9), exif=exif)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("green", "white")]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    traits = inspected(chosen(photos)).splits["train"].traits
    assert traits == {"alpha": 1, "16 bits": 1, "CMYK": 1, "turned by EXIF": 1, "animated": 1}


@pytest.mark.parametrize(
    ("folder", "message"),
    [("train/green", "no images"), ("val/green", "the training images have no class 'green'")],
)
def test_data_that_a_run_would_refuse_is_looked_at_all_the_same(photos, folder, message):
    (photos / folder).mkdir()
    (photos / folder / "notes.txt").write_text("")
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    found = inspected(chosen(photos))
    assert found.wrong[0].startswith("a run would refuse it: ")
    assert message in found.wrong[0]
    assert found.wrong[1] == "1 of 9 training images cannot be read"
    assert found.splits["train"].images == 9
    assert found.splits["train"].ignored == ({".txt": 1} if folder.startswith("train") else {})


def test_the_steps_of_an_epoch_are_those_of_the_readable_images(photos):
    (photos / "train" / "red" / "12.png").write_bytes(b"no image")
    found = inspected(chosen(photos, on_error="skip"))
    assert found.treatment["epoch"] == "1 steps of 4 images; 3 images sit out, others each time"


def test_a_part_of_the_images_is_looked_at(photos):
    found = inspected(chosen(photos), limit=3)
    assert (found.splits["train"].looked_at, sum(found.splits["train"].formats.values())) == (3, 3)
    assert "looked at 3 of 8 training images only (scan=)" in found.notes


def test_images_in_memory_are_looked_at_like_files():
    pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    split = MemorySplit(pixels, np.array([0, 1, 0, 0]))
    data = Dataset("grey", ("a", "b", "c"), split, split.subset(np.array([1])), "digest")
    found = inspect_data(replace(look(Settings()), data=data), Quiet())
    assert found.wrong[0] == "1 of 3 classes have no training images: c"
    assert found.wrong[1:] == ("1 validation images are training images too: training image 1 = validation image 0",)
    assert found.mean == (1.5, 1.5, 1.5)
    assert "classes of unequal size" not in "".join(found.notes)


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_report_has_all_of_it(photos, style):
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    text = inspection_text(inspected(chosen(photos)), style)
    for part in ("blue", "8 / 9.5 / 12", "broken.png cannot be read", "data.mean=[100,0,100]", "2 steps of 4"):
        assert part in " ".join(text.split())
    if style == "text":
        long = [line for line in text.splitlines() if len(line) > 80]
        assert all("broken.png" in line for line in long)  # a path is not broken up


def test_many_classes_are_cut_to_the_largest_and_the_smallest():
    labels = np.repeat(np.arange(30), np.arange(1, 31))
    split = MemorySplit(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), labels)
    names = tuple(f"class{number}" for number in range(30))
    found = inspect_data(replace(look(Settings()), data=Dataset("many", names, split, split, "")), Quiet())
    text = inspection_text(found, "text")
    assert "... 20 classes" in text
    assert "class29" in text
    assert "class15" not in text
    assert "classes of unequal size: 30 to 1 training images" in text


# --- the picture ---


def test_the_picture_shows_what_the_network_sees(photos, tmp_path):
    settings = replace(chosen(photos, flip=False), tricks={"cutout": {"size": 4}})
    settings.data.mean, settings.data.std = [10.0, 20.0, 30.0], [3.0, 2.0, 1.0]
    rows = seen_rows(look(settings))
    assert [row.title.partition(",")[0] for row in rows] == [*["training: blue", "training: red"] * 4, "validation"]
    assert rows[0].title.endswith(", in epochs 1, 3, 5, 7, 9, 11")
    assert {len(row.pictures) for row in rows[:8]} == {6}
    assert [caption for _, caption in rows[0].pictures] == ["blue"] * 6
    pixels, caption = rows[-1].pictures[1]
    assert caption == "red"
    assert (pixels == torch.tensor([200, 0, 0]).view(3, 1, 1)).all()
    drawn = torch.stack([picture for picture, _ in rows[1].pictures])
    assert set(drawn[:, 0].flatten().tolist()) == {0, 200, 10}  # padding, the image, and the mean that cutout leaves
    write_sheet(rows, str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 6 * (96 + 4) + 4
        assert sheet.getpixel((4 + 100 + 48, sheet.height - 40)) == (200, 0, 0)  # the second validation image


def test_mixed_images_say_what_they_are_mixed_of(photos):
    settings = replace(chosen(photos), tricks={"mixup": {"alpha": 1.0}})
    captions = [caption for row in seen_rows(look(settings))[:8] for _, caption in row.pictures]
    assert any("% + " in caption for caption in captions)


def test_images_of_all_classes_are_shown_first():
    assert evenly(np.array([0, 0, 0, 1, 1, 2])) == [0, 3, 5, 1, 4, 2]
