"""Robustness as a user asks for it: after training, of a finished run, of a file, as a picture and in tables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.report import corruption_grid
from bagoftricks.robustness import request as asked
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.run import corrupted_images as images
from tests.cli.test_commands import FAST, one_line
from tests.helpers import rewrite_record

CORRUPTED = ["corruptions=small_c", "corruptions.limit=12"]
NAME = "small_c[limit=12]"


def dimmer(batch, name, severity, indices, options):
    return (batch * (1 - severity / 6)).to(torch.uint8)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    for module in (images, corruption_grid):
        monkeypatch.setattr(module, "corrupt", dimmer)
    for module in (asked, corruption_grid):
        monkeypatch.setattr(module, "smallest_side", lambda name, constants: {"imagenet": 20, "cifar": 4}[constants])


def the_json(done):
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def trained(train_once):
    return train_once(*FAST)


def record_of(trained):
    return json.loads((Path("results") / "runs" / trained["id"] / "record.json").read_text())


def test_training_with_a_protocol_prints_accuracy_robustness_and_throughput_in_one_row(bot):
    done = bot("bot-train", *FAST, *CORRUPTED)
    assert done.status == 0, done.err
    heading, _, row = done.out.splitlines()[:3]
    assert {"top-1 %", f"corruption error % ({NAME})", "infer img/s"} <= set(heading.split("  ")) | {
        part.strip() for part in heading.split("  ")
    }
    assert row.startswith("baseline")
    assert f"{NAME}: 15 corruptions x 5 severities, mean error, not normalised; 12 generated images" in done.out


def test_a_finished_run_gets_its_evaluation_without_training(bot, trained):
    record = the_json(bot("bot-train", *FAST, *CORRUPTED, "format=json"))
    assert record["id"] == trained["id"]
    assert record["metrics"] == trained["metrics"]
    assert record["cost"] == trained["cost"]
    assert list(record["robustness"]) == [NAME]
    seal = {"sha256": record_of(trained)["sha256"]}
    assert record_of(trained) == record | seal


def test_a_run_is_evaluated_later_and_its_errors_are_reported(bot, trained):
    done = bot("bot-eval", f"run={trained['id'][:6]}", *CORRUPTED, "report=true")
    assert done.status == 0, done.err
    (result,) = record_of(trained)["robustness"].values()
    assert f"{result['weights']['last']['mce']:.2f}" in done.out
    lines = [line for line in done.out.splitlines() if line.split(" ")[0] in result["weights"]["last"]["errors"]]
    assert [line.split()[0] for line in lines] == list(corruption_names("main"))
    assert lines[0].split()[1:6] == [f"{e:.2f}" for e in result["weights"]["last"]["errors"]["gaussian_noise"]]
    again = the_json(bot("bot-eval", f"run={trained['id']}", *CORRUPTED, "format=json"))
    assert again["robustness"][NAME]["errors"] == result["weights"]["last"]["errors"]


def test_a_file_is_evaluated_and_nothing_is_recorded(bot, trained, tmp_path):
    row = the_json(bot("bot-eval", f"run={trained['id']}", *CORRUPTED, "format=json"))
    weights = f"weights=results/runs/{trained['id']}/weights.safetensors"
    network = [argument for argument in FAST if argument != "epochs=1"]
    files = sorted(tmp_path.rglob("*.*"))
    of_file = the_json(bot("bot-eval", weights, *network, *CORRUPTED, "format=json"))
    assert of_file["robustness"][NAME]["errors"] == row["robustness"][NAME]["errors"]
    assert sorted(tmp_path.rglob("*.*")) == files


def test_other_images_are_evaluated_and_not_recorded(bot, trained):
    done = bot("bot-eval", f"run={trained['id']}", "data.holdout=0.1", *CORRUPTED, "format=json")
    assert the_json(done)["robustness"][NAME]["count"] == 12
    assert "is not added to its record" in done.err
    assert record_of(trained)["robustness"] == {}


def test_larger_images_are_named_in_the_record(bot, trained):
    larger = ["image_size=24", "corruptions=imagenet_c_lossless", "corruptions.limit=12", "format=json"]
    the_json(bot("bot-eval", f"run={trained['id']}", *larger))
    ((name, result),) = record_of(trained)["robustness"].items()
    assert (name, result["image_size"]) == ("imagenet_c_lossless[limit=12, image_size=24]", 24)


def test_tables_show_what_was_measured_and_each_corruption_on_request(bot, trained):
    bot("bot-eval", f"run={trained['id']}", *CORRUPTED)
    bot("bot-train", *FAST, "seed=1")
    table = bot("bot-table").out.splitlines()
    assert f"corruption error % ({NAME})" in table[0]
    assert table[-1].startswith(f"- {NAME}: 15 corruptions x 5 severities")
    (result,) = record_of(trained)["robustness"].values()
    some = bot("bot-table", "columns=[top1,mce,fog]", "format=csv").out.splitlines()
    assert some[0] == f"label,model,data,epochs,seed,top1,mce:{NAME},fog:{NAME},id"
    assert float(some[1].split(",")[-2]) == pytest.approx(np.mean(result["weights"]["last"]["errors"]["fog"]))
    each = bot("bot-train", *FAST, *CORRUPTED, "corruptions.each=true").out.splitlines()[0]
    assert all(f"{name} error % ({NAME})" in each for name in corruption_names("main"))
    assert "did you mean 'mce'" in one_line(bot("bot-table", "columns=[mcee]"))


@pytest.mark.slow
def test_rows_that_were_trained_for_the_corruptions_are_marked_with_the_reason(bot):
    done = bot("bot-train", "+regularize=randaugment", *FAST, *CORRUPTED)
    row = done.out.splitlines()[2]
    assert row.split("  ")[0] == "randaugment"
    assert "†" in row
    assert "† trained for some of the corruptions: randaugment: its operations change brightness" in done.out
    assert "warning: randaugment" in done.err
    assert "†" not in bot("bot-train", *FAST, *CORRUPTED).out


def test_a_picture_shows_every_corruption_at_every_severity(bot, tmp_path):
    Image.fromarray(np.full((40, 30, 3), 240, np.uint8)).save(tmp_path / "cat.jpg")
    done = bot("bot-eval", "show=corruptions", "image=cat.jpg", "image_size=120", "out=grid.png")
    assert (done.status, done.out) == (0, "")
    pixels = np.array(Image.open(tmp_path / "grid.png"))
    assert pixels.shape[0] > 19 * 120
    assert pixels.shape[1] > 6 * 120
    row = pixels[25 + 60, -6 * 124 :: 124].astype(int).mean(1)  # from clean to severity 5
    assert row[0] == pytest.approx(240, abs=2)
    assert (np.diff(row) < -20).all()


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("bot-train", ["corruptions=imagenetc"], "corruptions has no option 'imagenetc'; did you mean 'imagenet_c'?"),
        ("bot-train", ["corruptions.limit=5"], "corruptions.limit=5: needs a protocol: add corruptions=NAME"),
        ("bot-train", ["corruptions=small_c", "corruptions.limit=0"], "corruptions.limit=0: must be positive"),
        ("bot-train", [*CORRUPTED, "corruptions.limt=0"], "did you mean 'corruptions.limit=0'?"),
        ("bot-train", [*CORRUPTED, "corruptions.stored=nowhere"], "corruptions.stored=nowhere: no such folder"),
        ("bot-train", [*CORRUPTED, "corruptions.stored=x", "corruptions.seed=1"], "a stored set is generated already"),
        ("bot-train", ["corruptions=imagenet_c"], "needs images of 20 pixels or more, and these have 8: type"),
        ("bot-train", [*CORRUPTED, "corruptions.normalise_by=aa"], "corruptions.normalise_by: "),
        ("bot-eval", ["show=corruptions"], "show=corruptions and image=FILE belong together"),
        ("bot-eval", ["show=cells", "image=x"], "show=cells: there is only show=corruptions"),
        ("bot-eval", ["show=corruptions", "image=nowhere.jpg"], "image=nowhere.jpg: no such file"),
        ("bot-eval", ["show=corruptions", "image=x", "out=x.jpg"], "out=x.jpg: the name must end in .png"),
        ("bot-eval", ["show=corruptions", "image=x", "epochs=3"], "'epochs=3' has no meaning with show=corruptions"),
        ("bot-eval", ["run=x", "report=yes"], "report=yes: must be true or false"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, program, arguments, message):
    assert message in one_line(bot(program, *(FAST if program == "bot-train" else []), *arguments))


def test_a_report_that_cannot_be_made_is_refused_before_the_evaluation(bot, trained, monkeypatch):
    monkeypatch.setattr("bagoftricks.measure.accuracy.measure_images", lambda *args: pytest.fail("evaluated"))
    run = ["bot-eval", f"run={trained['id']}", "report=true"]
    assert "report=true needs a protocol: add corruptions=NAME" in one_line(bot(*run))
    assert "report=true is for people to read" in one_line(bot(*run, *CORRUPTED, "format=csv"))


def test_a_record_that_is_damaged_inside_its_robustness_is_left_out_by_name(bot, trained, tmp_path):
    record = the_json(bot("bot-train", *FAST, *CORRUPTED, "format=json"))
    bot("bot-train", *FAST, "seed=7")
    path = tmp_path / "results/runs" / record["id"] / "record.json"
    rewrite_record(path.parent, lambda values: values["robustness"][NAME]["weights"]["last"].pop("errors"))
    done = bot("bot-table")
    assert done.status == 0
    assert "left out: " in done.err
    assert f"{record['id']}/record.json is not a record (robustness.{NAME}.weights.last: it must have" in done.err
    assert record["id"] not in done.out
    assert "is not a record" in one_line(bot("bot-eval", f"run={record['id']}"))


def test_a_stored_set_takes_the_place_of_generated_images(bot, trained, tmp_path):
    rng = np.random.Generator(np.random.Philox(key=1))
    for name in corruption_names("main"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.tile([0, 3, 5, 9], 5))
    done = bot("bot-eval", f"run={trained['id']}", "corruptions=cifar10_c", "corruptions.stored=.", "format=json")
    ((name, result),) = the_json(done)["robustness"].items()
    assert name.startswith("cifar10_c[stored=")
    assert (result["images"], result["count"]) == ("stored", 359)
    before = record_of(trained)
    (tmp_path / "fog.npy").unlink()
    asked.find_stored.cache_clear()
    missing = bot("bot-eval", f"run={trained['id']}", "corruptions=cifar10_c", "corruptions.stored=.")
    assert "has no fog.npy, of 15 corruptions and labels.npy" in one_line(missing)
    assert record_of(trained) == before


SWEEP = ["bot-sweep", "design=one_at_a_time", "tricks=[cosine]", "slots=0", *FAST, "format=json"]


def test_a_sweep_adds_the_evaluation_to_what_is_trained_and_tables_it(bot, monkeypatch):
    assert bot(*SWEEP).status == 0
    plan = the_json(bot(*SWEEP, *CORRUPTED, "plan=true"))
    assert [run["state"] for run in plan["runs"]] == ["not evaluated"] * 2
    monkeypatch.setattr("bagoftricks.run.execute.Run.train", lambda *args: pytest.fail("trained again"))
    study = the_json(bot(*SWEEP, *CORRUPTED))
    assert all(arm["evaluation"] == NAME for arm in study["study"]["arms"])
    plan = the_json(bot(*SWEEP, *CORRUPTED, "plan=true"))
    assert [run["state"] for run in plan["runs"]] == ["done"] * 2
    table = bot("bot-table", "study=one_at_a_time", "columns=[top1,mce]")
    assert f"corruption error % ({NAME})" in table.out
    assert f"- {NAME}: 15 corruptions" in table.out


@pytest.mark.slow
def test_an_evaluation_that_fails_in_a_sweep_leaves_the_run_finished(bot, trained, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no memory")

    monkeypatch.setattr(images, "corrupt", broken)
    arguments = ["bot-sweep", "design=arms", "tricks=[]", "slots=0", *FAST, *CORRUPTED]
    done = bot("bot-sweep", "design=one_at_a_time", "tricks=[cosine]", "slots=0", *FAST, *CORRUPTED)
    assert arguments
    assert done.status == 1
    assert "could not be evaluated: no memory" in done.err
    assert "2 evaluations failed; the same command tries them again" in done.err
    monkeypatch.setattr(images, "corrupt", dimmer)
    assert bot("bot-sweep", "design=one_at_a_time", "tricks=[cosine]", "slots=0", *FAST, *CORRUPTED).status == 0


@pytest.mark.slow
@pytest.mark.serial
def test_a_killed_process_loses_at_most_what_it_had_not_written(bot, trained, tmp_path):
    slow = (
        "import time\nfrom bagoftricks.cli.eval import main\n"
        "from bagoftricks.robustness import request\nfrom bagoftricks.run import corrupted, corrupted_images\n"
        "request.smallest_side = lambda *a: 1\ncorrupted.SAVE_EVERY_S = 0\n"
        "def corrupt(batch, *a, **k):\n    time.sleep(0.05)\n    return batch // 2\n"
        "corrupted_images.corrupt = corrupt\n"
    )
    command = f"import sys; sys.exit(main(['run={trained['id']}', *{CORRUPTED!r}, 'format=json']))"
    process = subprocess.Popen([sys.executable, "-c", slow + command], cwd=tmp_path, stderr=subprocess.DEVNULL)
    partial = tmp_path / "results" / "runs" / trained["id"] / "small_c.partial.json"
    end = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = json.loads(partial.read_text())["pieces"]
    assert 1 <= done < 76
    again = subprocess.run([sys.executable, "-c", slow + command], cwd=tmp_path, capture_output=True, text=True)
    assert "resumes where it stopped" in again.stderr
    assert not partial.exists()
    assert list(record_of(trained)["robustness"]) == [NAME]
