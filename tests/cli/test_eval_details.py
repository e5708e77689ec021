"""Details of bot-eval: tables, pictures and JSON of classes, confusions, calibration and mistakes."""

import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from bagoftricks.measure.predictions import ClassScore, Confusion
from bagoftricks.report.details import Details, by_class_table, confusion_table
from bagoftricks.report.figures import write_confusion
from tests.cli.test_commands import FAST, one_line
from tests.cli.test_eval import the_json

ALL = ["by_class=true", "confusion=true", "calibration=true", "mistakes=true"]


@pytest.fixture
def trained(train_once):
    return train_once("+refine=mixup", *FAST)


def test_json_has_all_details_and_they_add_up_to_the_scores(bot, trained):
    row = the_json(bot("bot-eval", "run=last", "by_class=true", "format=json"))
    details, count = row["details"], row["images"]
    assert sum(each["images"] for each in details["by_class"]) == count
    right = sum(each["right"] for each in details["by_class"])
    assert 100 * right / count == row["top1"] == trained["metrics"]["last"]["top1"]
    assert right == sum(each["images"] for each in details["confusion"] if each["class"] == each["predicted"])
    bins = details["calibration"]["bins"]
    ece = sum(b["images"] * abs(b["confidence"] - b["accuracy"]) for b in bins if b["images"]) / count
    assert 100 * ece == pytest.approx(row["ece"])
    first = details["mistakes"][0]
    assert first["class"] != first["predicted"]
    assert first["file"].startswith("validation image ")
    shares = [each["probability"] for each in details["mistakes"]]
    assert shares == sorted(shares, reverse=True)
    assert "details" not in the_json(bot("bot-eval", "run=last", "format=json"))


def test_tables_are_for_people(bot, trained):
    text = bot("bot-eval", "run=last", *ALL).out
    assert [title in text for title in ("accuracy by class (", "confusions (", "calibration (", "mistakes (")] == 4 * [
        True
    ]
    assert "**accuracy by class" in bot("bot-eval", "run=last", *ALL, "format=markdown").out
    message = "by_class=true is for people to read: type format=text, or format=json"
    assert message in one_line(bot("bot-eval", "run=last", "by_class=true", "format=csv"))


def test_pictures_are_written_in_the_format_of_their_suffix(bot, trained, tmp_path):
    files = ["confusion=c.svg", "calibration=k.pdf", "mistakes=m.png"]
    done = bot("bot-eval", "run=last", *files)
    assert [line.rpartition(": ")[2] for line in done.err.splitlines()] == [
        "c.svg shows the confusions",
        "k.pdf shows the calibration",
        "m.png shows the most confident mistakes",
    ]
    assert ElementTree.parse(tmp_path / "c.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "k.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "m.png") as sheet:
        assert sheet.width == 6 * 100 + 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["by_class=c.png"], "by_class=c.png: must be true or false"),
        (["confusion=c.jpg"], "confusion=c.jpg: the name must end in .png, .svg, .pdf (true: a table)"),
        (["mistakes=m.svg"], "mistakes=m.svg: the name must end in .png (true: a table)"),
        (["calibration=nowhere/\0.png"], "calibration=nowhere/"),
        (["weights=a.pth", "confusion=c.png", "-m"], "confusion= writes one file: leave out -m"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, trained, arguments, message):
    run = [] if arguments[0].startswith("weights") else ["run=last"]
    assert message in one_line(bot("bot-eval", *run, *arguments))


def test_pictures_without_matplotlib_name_the_extra(bot, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = "confusion=c.png: pictures need matplotlib: pip install 'bagoftricks[plots]'"
    assert message in one_line(bot("bot-eval", "run=last", "confusion=c.png"))
    assert bot("bot-eval", "run=last", "confusion=true").status == 0


def many_classes(count):
    """Class n of n + 10 images, n of them taken for the next one."""
    pairs = [Confusion(n, (n + k) % count, 10 if k == 0 else n) for n in range(count) for k in (0, 1) if k == 0 or n]
    scores = [ClassScore(n, n + 10, 10, (n + 1) % count, n) for n in reversed(range(count))]
    return Details(
        weights="last",
        names=tuple(f"class_${n}$ with a very long name" for n in range(count)),
        ece=1.0,
        classes=tuple(scores),
        confusion=tuple(pairs),
        bins=(),
        mistakes=(),
        wrong=0,
    )


def test_many_classes_are_cut_with_a_count_the_worst_first(tmp_path):
    details = many_classes(1000)
    lines = by_class_table(details).text("text", None).splitlines()
    assert (len(lines), lines[-1]) == (23, "... 980 more classes")
    assert lines[2].startswith("class_$999$")
    pairs = confusion_table(details).text("text", None).splitlines()
    assert (len(pairs), pairs[-1]) == (23, "... 979 more pairs")
    assert pairs[2].split()[-2:] == ["999", "99.0"]
    write_confusion(details, str(tmp_path / "c.png"))
    with Image.open(tmp_path / "c.png") as picture:
        assert max(picture.size) < 3000  # of 40 classes, not of 1000


def test_a_few_classes_are_a_matrix():
    lines = confusion_table(many_classes(3)).text("text", None).splitlines()
    assert lines[0].split()[-3:] == ["0", "1", "2"]
    assert [line.split()[-3:] for line in lines[2:]] == [["10", "0", "0"], ["0", "10", "1"], ["2", "0", "10"]]
