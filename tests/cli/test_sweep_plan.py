"""bot-sweep plan=true on any machine: what a study will take, and what this machine lacks for it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bagoftricks.cli.sweep import planned, swept_study
from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.data.image_folder import ImageFolder
from bagoftricks.errors import DataError, UserError
from tests.cli.test_commands import FAST, one_line

STACK = ["design=stack", "tricks=[mixup,mixed_precision]", "tricks.mixed_precision.dtype=fp16", "slots=0", *FAST]


@pytest.fixture
def quick(monkeypatch):
    """No steps are tried to estimate the time."""
    monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 3600.0)


def rows(done):
    return [(row["arm"], row["state"]) for row in json.loads(done.out)["runs"]]


def test_a_machine_without_a_gpu_plans_what_needs_one(bot, quick):
    done = bot("bot-sweep", *STACK, "plan=true")
    assert (done.status, done.err) == (0, "")
    assert "checked where the runs run: fp16 needs a GPU" in done.out
    assert "(arm '+ mixed_precision')" in done.out
    planned = json.loads(bot("bot-sweep", *STACK, "plan=true", "format=json").out)
    assert [bool(row["id"]) for row in planned["runs"]] == [True] * 3
    assert list(planned["lacking"]) == ["+ mixed_precision"]
    refused = bot("bot-sweep", *STACK)
    assert refused.status == 2
    assert "arm '+ mixed_precision' cannot run: fp16 needs a GPU" in refused.err


def test_runs_have_no_id_where_their_data_are_not(bot):
    away = ["design=stack", "tricks=[mixup]", "data=imagefolder", "data.root=/nowhere", *FAST]
    done = bot("bot-sweep", *away, "plan=true")
    assert done.status == 0
    assert "runs whose id and state are unknown here: 2 for data" in done.out
    assert "data.root=/nowhere: no such folder (all 2 arms)" in done.out
    assert rows(bot("bot-sweep", *away, "plan=true", "format=json")) == [
        ("baseline", "unknown: data"),
        ("+ mixup", "unknown: data"),
    ]
    assert "arm 'baseline' cannot run: data.root=/nowhere" in bot("bot-sweep", *away).err


def test_a_factorial_is_planned_where_its_data_are_not(bot):
    done = bot("bot-sweep", "design=factorial", "tricks=[mixup,cosine]", "data=imagefolder", "plan=true", *FAST)
    assert (done.status, done.out.count("unknown: data")) == (0, 4)


def test_data_that_are_not_there_are_looked_for_once(bot, monkeypatch):
    looked = []

    def find(self):
        looked.append(self.root)
        raise DataError("not there")

    monkeypatch.setattr(ImageFolder, "find", find)
    assert bot("bot-sweep", "design=stack", "tricks=[mixup,cosine]", "data=imagefolder", "plan=true", *FAST).status == 0
    assert len(looked) == 1


def test_a_package_that_is_not_installed_is_the_affair_of_other_machines(bot, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    study = ["design=stack", "tricks=[mixup]", "model=timm/resnet18", "image_size=32"]
    done = bot("bot-sweep", *study, "plan=true")
    assert "unknown: a package" in done.out
    assert "timm is not installed; type pip install timm (all 2 arms)" in done.out
    assert "cannot run: model=timm/resnet18: timm is not installed" in bot("bot-sweep", *study).err


def test_weights_and_teachers_that_are_not_here_are_named(bot):
    study = ["design=arms", "tricks=[cosine,cosine+distill]", "model.weights=/nowhere/a.safetensors", *FAST]
    out = bot("bot-sweep", *study, "plan=true").out
    assert "/nowhere/a.safetensors: no such file of weights (all 2 arms)" in out
    assert "tricks.distill.teacher is not set" in out


def test_what_is_wrong_on_any_machine_stays_an_error(bot):
    arms = "tricks=[baseline,resnet_b+resnet_d]"
    done = bot("bot-sweep", "design=arms", arms, "data=imagefolder", "model=resnet14_laptop", "plan=true")
    assert (done.status, done.out) == (2, "")
    assert "both set part" in done.err
    assert "did you mean" in one_line(bot("bot-sweep", "design=stack", "tricks=[mixpu]", "plan=true"))


def test_time_and_cost_count_slots_and_what_is_done(bot, quick):
    study = ["design=stack", "tricks=[mixup,cosine]", "seeds=2", "price_per_hour=2", "plan=true", *FAST]
    out = bot("bot-sweep", *study, "slots=4").out
    assert "6 runs, 6 to train, about 2.0 h" in out  # 4 at a time, then 2
    assert "4 at a time, 6.0 h of devices, which cost 12.00 at 2 an hour: by a few steps" in out
    assert bot("bot-train", *FAST).status == 0
    after = json.loads(bot("bot-sweep", *study, "format=json").out)
    assert (after["missing"], after["states"]) == (5, {"done": 1, "missing": 5})
    assert 0 < after["seconds"] < 3600  # as the finished run took
    assert after["cost"] == pytest.approx(after["device_seconds"] / 3600 * 2)


def test_failed_runs_are_counted_apart(bot, quick):
    study = ["design=stack", "tricks=[mixup]", "lr=1e30", "slots=0", *FAST]
    assert bot("bot-sweep", *study).status == 1
    assert (
        "2 runs, 0 to train, about 0 s, 2 failed (retry=failed trains them again)"
        in bot("bot-sweep", *study, "plan=true").out
    )
    assert "2 runs, 2 to train, about 2.0 h\n" in bot("bot-sweep", *study, "plan=true", "retry=failed").out


def test_a_plan_warns_of_a_full_disk(bot, quick, monkeypatch):
    study = ["design=stack", "tricks=[mixup]", "plan=true", *FAST]
    found = re.search(
        r"disk: about ([\d.]+) MiB for 2 runs, by the sizes of their networks", bot("bot-sweep", *study).out
    )
    assert 0 < float(found[1]) < 10
    monkeypatch.setattr("bagoftricks.study.disk.free_bytes_of", lambda folder: 1000)
    assert "warning: disk: about" in bot("bot-sweep", *study).out


def test_room_is_estimated_from_like_runs(bot, quick, tmp_path):
    assert bot("bot-train", *FAST).status == 0
    planned = json.loads(bot("bot-sweep", "design=stack", "tricks=[mixup]", "plan=true", "format=json", *FAST).out)
    assert planned["disk"]["like_runs"] == 1
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    assert planned["disk"]["bytes"] > sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def test_commands_are_a_line_for_each_missing_run_and_nothing_else(bot, tmp_path):
    assert bot("bot-train", *FAST).status == 0
    done = bot("bot-sweep", "design=stack", "tricks=[mixup,cosine]", "format=commands", *FAST)  # plan=true is implied
    assert done.status == 0
    lines = done.out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"cd {tmp_path} && bot-train ") for line in lines)
    assert "2 of 3 runs are missing; then: bot-table study=stack" in done.err
    study = json.loads(bot("bot-table", "study=stack", "format=json").out)["study"]
    assert study["command"].startswith("bot-sweep design=stack")
    assert "format=commands" not in study["command"]


def test_commands_are_printed_where_the_data_are_not_and_no_study_is_replaced(bot, tmp_path):
    done = bot("bot-sweep", "design=stack", "tricks=[mixup]", "data=imagefolder", "format=commands", *FAST)
    assert (done.status, done.out.count("bot-train data=imagefolder")) == (0, 2)
    assert "2 runs have no id here" in done.err
    assert not list(tmp_path.rglob("stack.json"))


@pytest.mark.slow
def test_xargs_trains_the_study_from_its_commands(bot):
    sweep = ["design=stack", "tricks=[mixup(alpha=0.3)]", "slots=0", *FAST]
    lines = bot("bot-sweep", *sweep, "plan=true", "format=commands").out
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["xargs", "-d", "\\n", "-P", "2", "-I{}", "sh", "-c", "{}"],
        input=lines,
        text=True,
        check=True,
        cwd="/",
        env={**os.environ, "PATH": path},
        capture_output=True,
    )
    table = json.loads(bot("bot-table", "study=stack", "format=json").out)
    assert [row["n"] for row in table["rows"]] == [1, 1]
    assert "2 finished before, 0 to train" in bot("bot-sweep", *sweep).err


def planned_for(*arguments):
    study = swept_study(parse(arguments), arguments)
    return planned(study, study.arms)


def test_runs_of_a_cluster_need_no_gpu_where_they_are_started_but_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster = [word for word in STACK if word != "slots=0"] + ["engine=slurm"]
    assert len(planned_for(*cluster).runs) == 3
    with pytest.raises(UserError, match=r"2 of 2 arms cannot run \(above\)"):
        planned_for("design=stack", "tricks=[mixup]", "data=imagefolder", "engine=slurm", *FAST)
