"""Each engine really launches a study of six runs, in its local form."""

import json
import subprocess
import sys

import pytest

from tests.cli.test_commands import FAST, one_line

STUDY = ["design=one_at_a_time", "tricks=[mixup,cosine]", "seeds=2", "slots=2", *FAST]

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("launcher", list(PLUGINS))
def test_a_launcher_trains_a_study(tmp_path, launcher):
    pytest.importorskip(PLUGINS[launcher])
    command = [sys.executable, "-m", "bagoftricks.cli.sweep", *STUDY, f"hydra/launcher={launcher}", "format=json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout[done.stdout.index("{") :])["rows"]
    assert [row["n"] for row in rows] == [2, 2, 2]
    assert len(list(tmp_path.rglob("record.json"))) == 6


def test_a_launcher_that_is_not_there_is_one_line(bot):
    done = bot("bot-sweep", *STUDY, "hydra/launcher=rya")
    assert "hydra/launcher=rya cannot be used" in one_line_after_progress(done)


def one_line_after_progress(done):
    done.err = done.err.splitlines()[-1] + "\n"
    return one_line(done)
