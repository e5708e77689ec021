"""bot-eval as a user runs it: a finished run, and files of weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.test_commands import FAST, one_line
from tests.helpers import rewrite_record

NETWORK = [argument for argument in FAST if argument != "epochs=1"]


def the_json(done):
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def trained(train_once):
    """The record of a run, after one epoch."""
    return train_once("+refine=mixup", *FAST)


def weights(run):
    return Path("results") / "runs" / run["id"] / "weights.safetensors"


def test_a_run_is_evaluated_as_it_was_recorded(bot, trained, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    row = the_json(bot("bot-eval", f"run={trained['id'][:6]}", "format=json"))
    assert {key: row[key] for key in trained["metrics"]["last"]} == trained["metrics"]["last"]
    assert {key: row[key] for key in ("params", "macs")} == {key: trained["cost"][key] for key in ("params", "macs")}
    assert (row["id"], row["label"], row["image_size"], row["images"]) == (trained["id"], "mixup", 8, 359)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert f"{row['top1']:.2f}" in bot("bot-eval", f"run={trained['id']}").out


def test_a_run_is_evaluated_on_larger_images_in_the_network_it_was_trained_in(bot, trained):
    larger = the_json(bot("bot-eval", f"run={trained['id']}", "image_size=70", "format=json"))
    assert larger["image_size"] == 70
    assert larger["params"] == trained["cost"]["params"]  # above 64 pixels, a new network has another stem
    assert larger["macs"] > 70 * trained["cost"]["macs"]


def test_other_data_is_said_to_be_other_data(bot, trained):
    done = bot("bot-eval", f"run={trained['id']}", "data.holdout=0.1", "format=json")
    assert "these are not the images that the run was trained and evaluated on" in done.err
    assert the_json(done)["images"] == 144


def test_it_computes_with_the_threads_that_are_typed(bot, trained):
    before = torch.get_num_threads()
    try:
        the_json(
            bot("bot-eval", f"weights={weights(trained)}", *NETWORK, f"runtime.threads={before + 1}", "format=json")
        )
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_file_is_evaluated_like_the_run_that_wrote_it(bot, trained):
    row = the_json(bot("bot-eval", f"weights={weights(trained)}", *NETWORK, "format=json"))
    assert {key: row[key] for key in trained["metrics"]["last"]} == trained["metrics"]["last"]


def test_weights_go_out_in_torchvisions_names_and_come_in_again(bot, trained, tmp_path):
    out = ["export=mine.safetensors", "naming=torchvision", "format=json"]
    first = the_json(bot("bot-eval", f"run={trained['id']}", *out))
    assert "layer1.0.conv1.weight" in load_file(tmp_path / "mine.safetensors")
    again = the_json(bot("bot-eval", "weights=mine.safetensors", *NETWORK, "format=json", "export=ours.safetensors"))
    assert again["loss"] == first["loss"]
    ours = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(tensor, ours[name]) for name, tensor in load_file(tmp_path / weights(trained)).items())


def test_a_run_starts_from_a_file_and_has_its_own_id(bot, trained):
    started = ["+refine=mixup", *FAST, "lr=1e-9", f"model.weights={weights(trained)}", "format=json"]
    run = the_json(bot("bot-train", *started))
    assert run["id"] != trained["id"]
    assert run["metrics"]["last"]["loss"] == pytest.approx(trained["metrics"]["last"]["loss"], abs=0.3)
    assert the_json(bot("bot-eval", f"run={run['id']}", "format=json"))["loss"] == run["metrics"]["last"]["loss"]
    weights(trained).unlink()  # a finished run needs the file no more
    assert the_json(bot("bot-eval", f"run={run['id']}", "format=json"))["loss"] == run["metrics"]["last"]["loss"]


def test_each_copy_of_the_weights_has_a_row(bot, trained, tmp_path):
    folder = tmp_path / weights(trained).parent
    (folder / "ema.weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    rewrite_record(folder, lambda record: record["metrics"].update(ema=record["metrics"]["last"]))
    rows = the_json(bot("bot-eval", f"run={trained['id']}", "format=json"))
    assert [(row["weights"], row["label"]) for row in rows] == [("last", "mixup"), ("ema", "mixup [ema]")]
    assert the_json(bot("bot-eval", f"run={trained['id']}", "weight_set=ema", "format=json"))["weights"] == "ema"
    assert "weight_set=emu: the weights are of last, ema" in one_line(
        bot("bot-eval", f"run={trained['id']}", "copy=emu")
    )


@pytest.mark.slow
def test_a_library_network_is_trained_and_evaluated(bot):
    network = ["model=timm/test_efficientnet", "image_size=8", "runtime.device=cpu", "format=json"]
    run = the_json(bot("bot-train", *network, "epochs=1"))
    assert run["model"]["name"] == "timm/test_efficientnet"
    assert the_json(bot("bot-eval", f"run={run['id']}", "format=json"))["loss"] == run["metrics"]["last"]["loss"]


@pytest.fixture
def pair(bot, trained):
    """The ids of two runs that start from the weights of ``trained`` and differ in their seeds."""
    start = ["+refine=mixup", *FAST, f"model.weights={weights(trained)}"]
    return [the_json(bot("bot-train", *start, f"seed={seed}", "format=json"))["id"] for seed in (1, 2)]


def test_a_soup_is_the_network_of_the_mean_weights(bot, pair, tmp_path):
    one, other = pair
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    done = bot("bot-eval", f"run={one}", f"soup=[{other}]", "export=soup.safetensors", "format=json")
    row = the_json(done)
    assert (row["weights"], "id" in row) == ("soup", False)
    files = [load_file(f"results/runs/{run}/weights.safetensors") for run in pair]
    torch.testing.assert_close(
        load_file("soup.safetensors")["head.weight"], (files[0]["head.weight"] + files[1]["head.weight"]) / 2
    )
    again = the_json(bot("bot-eval", "weights=soup.safetensors", *NETWORK, "+refine=mixup", "format=json"))
    assert again["loss"] == pytest.approx(row["loss"])
    assert "soup of 2 runs" in done.err
    assert "did not start from one file" not in done.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")} == before


def test_a_soup_of_a_run_with_itself_is_the_run_and_says_that_nothing_was_shared(bot, trained):
    done = bot("bot-eval", f"run={trained['id']}", f"soup={trained['id']}", "format=json")
    assert the_json(done)["loss"] == pytest.approx(trained["metrics"]["last"]["loss"])
    assert "these did not start from one file of weights" in done.err


def test_a_soup_of_other_networks_is_refused(bot, trained):
    other = the_json(bot("bot-train", *FAST[:3], "model.width=8", FAST[4], "format=json"))["id"]
    message = one_line(bot("bot-eval", f"run={trained['id']}", f"soup={other}"))
    assert f"soup={other}: has another network, or other classes, than run={trained['id']}" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["soup=abc"], "soup=abc: type run=ID, and the other runs as soup=[ID,ID]"),
        (["run=abc", "soup=[abc,]"], "soup=[abc,]: type run=ID, and the other runs"),
        ([], "there is nothing to evaluate: type run=<id> (bot-table lists them) or weights=FILE"),
        (["run=abc"], "store=results/runs: no such folder"),
        (["run=abc", "store=."], "run=abc: . has no finished run of this id; bot-train makes one"),
        (["run=abc", "weights=x"], "run= and weights= are two things to evaluate"),
        (["run=abc", "epochs=3"], "'epochs=3' cannot be set with run="),
        (["run=abc", "+refine=mixup"], "'+refine=mixup' cannot be set with run="),
        (["run=abc", "imagesize=3"], "did you mean 'image_size'?"),
        (["run=abc", "data.rot=3"], "did you mean 'data.root=3'?"),
        (["weights=nowhere.pth"], "nowhere.pth: no such file of weights"),
        (["weights=/dev"], "/dev: is no file of weights, but a folder"),
        (["weights=x", "export=a.pth"], "export=a.pth: the name must end in .safetensors"),
        (["weights=x", "naming=timm"], "naming=timm: must be one of ours, torchvision"),
        (["weights=x", "export=a.safetensors", "-m"], "export= writes one file: leave out -m"),
        (["weights=x", "model.new_head=true"], "a head that was not trained is not worth evaluating"),
        (["model=timm"], "model=timm: which of its networks? Type model=timm/NAME"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, arguments, message):
    assert message in one_line(bot("bot-eval", *arguments))


def test_an_unknown_run_is_answered_with_near_ones(bot, tmp_path):
    for name in ("aaaa11", "aaaa22", "bbbb33"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "record.json").write_text("{}")
    near = one_line(bot("bot-eval", "run=aaab11", "store=store"))
    assert "run=aaab11: store has no finished run of this id; there are aaaa11, " in near
    several = one_line(bot("bot-eval", "run=aaaa", "store=store"))
    assert "run=aaaa is the start of 2 ids: aaaa11, aaaa22; type more of it" in several


def test_a_file_of_another_network_is_one_line(bot, trained):
    done = bot("bot-eval", f"weights={weights(trained)}", *NETWORK, "+tweak=resnet_d")
    assert "is not of this network with these tricks: of its tensors, " in one_line(done)
