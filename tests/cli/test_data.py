"""bot-data as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_commands import one_line

QUICK = ["runtime.workers=0", "image_size=8", "batch_size=2"]


@pytest.fixture
def folder(tmp_path):
    """Images of noise in two classes and two splits, in a folder whose name a terminal would obey."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b|c"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (9, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{number}.png")
    return tmp_path / "photos"


def test_a_sound_data_set_ends_with_0(bot, folder, tmp_path):
    done = bot("bot-data", "data=imagefolder", f"data.root={folder}", *QUICK, "show=sheet.png")
    assert (done.status, done.err.splitlines()[-1]) == (0, "sheet.png shows what the network sees")
    assert done.out.startswith("imagefolder: 4 training and 4 validation images of 2 classes, seen at 8 pixels")
    assert done.out.endswith("Nothing is wrong\n")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_broken_data_set_ends_with_1_and_says_all_that_is_broken(bot, folder):
    (folder / "train" / "a" / "broken.png").write_text("no image")
    (folder / "val" / "a" / "0.png").write_bytes((folder / "train" / "b|c" / "0.png").read_bytes())
    done = bot("bot-data", "data=imagefolder", f"data.root={folder}", *QUICK, "format=json")
    assert done.status == 1
    found = json.loads(done.out)
    assert found["classes"] == ["a", "b|c"]
    assert [len(found["splits"][split]["broken"]) for split in ("train", "val")] == [1, 0]
    assert len(found["wrong"]) == 3
    assert found["twins"][0]["classes"] == ["b|c", "a"]
    markdown = bot("bot-data", "data=imagefolder", f"data.root={folder}", *QUICK, "format=markdown", "scan=1")
    assert "b&#124;c" in markdown.out


def test_the_digits_are_sound_and_each_job_has_a_report(bot):
    done = bot("bot-data", "-m", "data.limit=8,9", "format=json", "runtime.progress=false")
    assert (done.status, done.err) == (0, "")
    assert [found["splits"]["train"]["images"] for found in json.loads(done.out)] == [8, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show=sheet.jpg"], "show=sheet.jpg: the name must end in .png"),
        (["show=a.png", "-m"], "show= writes one file: leave out -m"),
        (["show=nowhere/\0.png"], "show=nowhere/"),
        (["scan=0"], "scan=0: must be a whole number, 1 or more"),
        (["scan=many"], "scan=many: must be a whole number, 1 or more"),
        (["format=csv"], "format=csv: must be one of text, markdown, html, json"),
        (["data=imagefolder", "data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["data=imagefolder"], "data.root is not set"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, arguments, message):
    assert message in one_line(bot("bot-data", *arguments, "data.limit=8", "runtime.progress=false"))
