"""``bot.sweep``: the study of the command, from Python values."""

import shlex
import subprocess
import sys

import pytest

import bagoftricks as bot
from bagoftricks.cli import sweep as command
from bagoftricks.errors import UserError
from bagoftricks.store.store import Store
from tests.api.conftest import FAST

DESIGN = {"design": "stack", "tricks": ["mixup(alpha=0.4)"], "seeds": [0, 7], "slots": 0}


def test_a_plan_is_a_frame_and_trains_nothing(here):
    plan = bot.sweep(**DESIGN, **{**FAST, "model": {**FAST["model"], "weights": None}}, plan=True)
    assert list(zip(plan["arm"], plan["seed"], plan["state"], strict=True)) == [
        (arm, seed, "missing") for arm in ("baseline", "+ mixup(alpha=0.4)") for seed in (0, 7)
    ]
    assert plan["command"][3].startswith("bot-train ")
    assert plan.attrs["missing"] == 4
    assert plan.attrs["seconds"] > 0
    assert list(Store("results/runs").root.glob("*/record.json")) == []


@pytest.mark.slow
def test_a_study_has_its_runs_its_failures_in_the_notes_and_the_command_of_the_same_study(here, capsys):
    settings = {**FAST, "lr": 1e30}
    failed = bot.sweep("+refine=clip_gradients", design="arms", tricks=["mixup"], name="bad", slots=0, **settings)
    assert len(failed.runs) == 0
    assert [note for note in failed.notes if note.startswith("mixup, seed 0, failed: ")]
    study = bot.sweep(**DESIGN, name="mine", **FAST)
    assert list(study.arms["arm"]) == ["baseline", "+ mixup(alpha=0.4)"]
    assert len(study.runs) == 4
    words = shlex.split(study.results.study.command)
    assert (words[0], command.main(words[1:])) == ("bot-sweep", 0)
    assert "4 runs: 4 finished before" in capsys.readouterr().err
    assert len(bot.sweep(design="greedy", tricks=["mixup", "label_smoothing"], seeds=2, **FAST, plan=True)) == 6


def test_bad_input_is_one_line(here):
    (here / "my_conf/preset").mkdir(parents=True)
    (here / "my_conf/preset/mine.yaml").write_text("# @package _global_\nmodel:\n  weights: some.pth\n")
    for settings, message in (
        ({}, "nothing to sweep"),
        ({"design": "stak", "tricks": ["mixup"]}, "stak.*did you mean 'stack'"),
        ({"design": "arms", "tricks": ["mixupp"]}, "did you mean 'mixup'"),
        ({**DESIGN, "hydra/launcher": "joblib"}, "hydra/launcher=joblib: is for bot-train -m; type slots=N"),
        ({**DESIGN, "config_dir": "my_conf", "preset": "mine", "model.weights": None}, "sets it to 'some.pth'"),
        ({"from_": "page.html"}, "from=page.html"),
        ({**DESIGN, "seeds": "many"}, "seeds=many: must be how many"),
    ):
        with pytest.raises(UserError, match=message):
            bot.sweep(**settings)


WITHOUT_A_GUARD = """
import bagoftricks as bot
print("the program")
study = bot.sweep(design="stack", tricks=["mixup"], epochs=1, model={"depths": [1], "width": 4}, data={"limit": 300})
print(len(study.runs))
"""


@pytest.mark.slow
def test_a_program_without_a_guard_sweeps_in_processes(here):
    (here / "program.py").write_text(WITHOUT_A_GUARD)
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=180)
    assert done.stdout.split() == ["the", "program", "2"], done.stderr
