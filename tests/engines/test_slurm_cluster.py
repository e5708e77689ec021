"""engine=slurm on a real SLURM of one node, as a user types it."""

import re
import subprocess
import sys
import time

import pytest

from tests.slurm_cluster import ROOT, slurm_cluster, why_none
from tests.torture import STUDY, left_behind, litter, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.serial,
    pytest.mark.skipif(bool(why_none()), reason=why_none() or "SLURM is here"),
]
SMALL = [word for word in STUDY if not word.startswith(("slots=", "tricks=", "seeds=", "epochs="))]
SMALL += ["tricks=[resnet_d]", "seeds=2"]
LONG = [word for word in SMALL if not word.startswith("seeds=")] + ["seeds=1", "epochs=60"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def start(cluster, tmp_path):
    processes = []

    def begin(*arguments):
        made = subprocess.Popen(
            [sys.executable, "-m", "bagoftricks.cli.sweep", *arguments],
            cwd=tmp_path,
            env={**cluster.environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(made)
        return made

    yield begin
    for process in processes:
        process.kill()
        process.communicate()
    cluster.ask("scancel", "--partition=main")


def ended(process, status=0):
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, err
    return out, err


def until(true, seconds=120.0):
    limit = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < limit
        time.sleep(0.1)
    return found


def test_submit_and_log_out_then_the_same_command_shows_the_state_and_the_table(cluster, start, tmp_path):
    ended(start(*SMALL, "epochs=3", "store=here"))
    there = (*SMALL, "epochs=3", "store=there", "engine=slurm", "engine.extra=[hold]", "engine.wait=false")
    both = [start(*there), start(*there)]
    shown = [ended(one) for one in both]
    assert len(cluster.submitted()) == 4, "each run once, of two commands at once"
    assert all("queued" in out or "running" in out for out, _ in shown)
    assert re.search(r"scancel \d+", shown[0][1])
    plan, _ = ended(start(*there, "plan=true"))
    assert "queued" in plan
    for job in cluster.jobs():
        cluster.ask("scontrol", "release", job)
    ended(start(*there[:-1]))
    assert len(cluster.submitted()) == 4
    here, store = tmp_path / "here", tmp_path / "there"
    assert left_behind(store) == left_behind(here)
    assert table(store) == table(here)
    assert litter(store) == []
    out, _ = ended(start(*there))
    assert "difference" in out, "the table, once all is done"


def test_a_run_whose_job_is_killed_or_preempted_goes_on_from_its_checkpoint(cluster, start, tmp_path):
    ended(start(*LONG, "store=here", "slots=2"))
    sweep, store = start(*LONG, "store=there", "engine=slurm"), tmp_path / "there"
    until(lambda: len(list(store.glob("*/checkpoints/*"))) > 2)
    one, other = until(lambda: len(cluster.jobs("R")) == 2 and cluster.jobs("R"))
    assert cluster.kill_job(one)
    cluster.ask("scontrol", "requeue", other)
    ended(sweep)
    found, wanted = left_behind(store), left_behind(tmp_path / "here")
    assert sum(run.pop("continuations") for run in found.values()) >= 1
    assert sum(run.pop("continuations") for run in wanted.values()) == 0
    assert found == wanted
    assert litter(store) == []


def test_a_run_that_exceeds_its_time_is_saved_and_goes_on_in_another_job(cluster, start, tmp_path):
    more = ("epochs=2000", "engine=slurm", "engine.time=1", "engine.save_seconds=45", "store=there")
    sweep, store = (
        start(*(word for word in LONG if not word.startswith("epochs")), *more),
        tmp_path / "there",
    )
    job = until(lambda: cluster.jobs("R"))[0]
    until(lambda: "Restarts=1" in cluster.ask("scontrol", "show", "job", job), 90)
    assert list(store.glob("*/interrupted"))
    assert list(store.glob("*/checkpoints/*.safetensors"))
    cluster.ask("scancel", "--partition=main")
    _, err = ended(sweep, 75)
    assert "were interrupted: type the same command again to resume" in err


def test_a_mistake_of_sbatch_is_one_line(start, tmp_path):
    out, err = ended(start(*SMALL, "store=there", "engine=slurm", "engine.partition=nowhere"), 2)
    assert (out, "Traceback" in err) == ("", False)
    assert "bot-sweep: engine=slurm: sbatch: error: invalid partition specified: nowhere" in err
    assert not (tmp_path / "there" / "engines").exists()
