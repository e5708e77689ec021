"""Grey images of one channel through the commands: training, corruptions, evaluation, teachers, costs."""

import json

import pytest
import torch

from tests.data.copies import write_idx

SMALL = ("model.depths=[1]", "model.width=4", "epochs=1", "batch_size=8", "format=json", "runtime.progress=false")


@pytest.fixture
def grey(bot, tmp_path):
    """Arguments of a data set, and the record of a run on it."""
    write_idx(tmp_path / "grey", "train", 24)
    write_idx(tmp_path / "grey", "t10k", 9)
    data = ("data=idx", f"data.root={tmp_path / 'grey'}")
    done = bot("bot-train", *data, "image_size=32", "corruptions=cifar10_c", "corruptions.limit=3", *SMALL)
    assert done.status == 0, done.err
    return data, json.loads(done.out)


def test_a_run_on_greys_is_evaluated_as_it_was_trained(bot, grey):
    _, record = grey
    assert record["config"]["data"]["channels"] == 1
    (robust,) = record["robustness"].values()
    assert robust["corruptions"] == 15
    again = json.loads(bot("bot-eval", f"run={record['id']}", "format=json").out)
    assert again["top1"] == record["metrics"]["last"]["top1"]
    colours = bot("bot-eval", f"run={record['id']}", "data.channels=3")
    assert (colours.status, "data.channels=3: the network takes 1; leave it out" in colours.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student", "mode", "refusal"),
    [
        (1, 3, "online", "the teacher sees greys: type data.channels=1"),
        pytest.param(1, 3, "offline", "", marks=pytest.mark.long),
        (3, 1, "online", ""),
    ],
)
def test_a_teacher_sees_the_channels_that_it_was_trained_on(bot, grey, teacher, student, mode, refusal):
    data, record = grey
    if teacher == 3:
        record = json.loads(bot("bot-train", *data, "image_size=32", "data.channels=3", *SMALL).out)
    distilled = bot(
        "bot-train", *data, "image_size=32", f"data.channels={student}", "+refine=distill",
        f"tricks.distill.teacher=run:{record['id']}", f"tricks.distill.mode={mode}", "seed=1", *SMALL,
    )  # fmt: skip
    assert refusal in distilled.err
    assert distilled.status == (2 if refusal else 0), distilled.err


@pytest.mark.slow
def test_an_exported_network_takes_greys(bot, grey, tmp_path):
    _, record = grey
    done = bot("bot-eval", f"run={record['id']}", f"export={tmp_path / 'grey.pt2'}")
    assert done.status == 0, done.err
    extra = {"bagoftricks.json": ""}
    program = torch.export.load(tmp_path / "grey.pt2", extra_files=extra).module()
    about = json.loads(extra["bagoftricks.json"])
    assert (about["channels"], about["mean"]) == ("L", pytest.approx([33.32]))
    assert program(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_costs_are_those_of_one_channel(bot):
    bench = ("bot-bench", "data=mnist", "model=resnet18", "measure=false", "format=json")
    one, three = (json.loads(bot(*bench, f"data.channels={channels}").out) for channels in (1, 3))
    assert three["params"] - one["params"] == 2 * 64 * 9
    assert three["macs"] - one["macs"] == 2 * 64 * 9 * 28**2


def test_the_picture_and_the_report_of_the_data_show_greys(bot, grey, tmp_path):
    data, _ = grey
    done = bot("bot-data", *data, f"show={tmp_path / 'sheet.png'}", "format=json")
    assert json.loads(done.out)["treatment"]["values"] == "luma, minus 33.32, over 78.57"
    assert (tmp_path / "sheet.png").is_file()
