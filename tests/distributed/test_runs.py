"""Whole runs on two ranks that the command starts itself, or torchrun."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.serial]
TINY = [
    *("data.limit=180", "batch_size=16", "epochs=2", "model.depths=[1,1]", "model.width=4", "lr=0.05"),
    *("+refine=[mixup,ema]", "+tweak=ghost_norm", "tricks.ghost_norm.splits=4", "runtime.device=cpu", "format=json"),
]
TRAIN = [sys.executable, "-m", "bagoftricks.cli.train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "bagoftricks.cli.train"]
LONG = [word.replace("epochs=2", "epochs=500") for word in [*TINY, "runtime.devices=2"]]


def run(folder, command, *arguments, status=0):
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    return done


def weights(folder, record):
    files = sorted((folder / "results/runs" / record["id"]).glob("*weights.safetensors"))
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Two seeds, as a multirun."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(folder, TRAIN, "-m", *TINY, "seed=0,1", "runtime.devices=2")
    return folder, json.loads(done.stdout)


def test_a_multirun_starts_the_ranks_of_each_job(undisturbed):
    folder, records = undisturbed
    assert [record["seed"] for record in records] == [0, 1]
    assert all(record["environment"]["devices"] == 2 for record in records)
    alone = json.loads(run(folder, TRAIN, *TINY, "rerun=true", "store=alone").stdout)
    assert alone["id"] == records[0]["id"]
    assert alone["environment"]["devices"] == 1
    assert alone["metrics"]["last"]["loss"] == pytest.approx(records[0]["metrics"]["last"]["loss"], rel=1e-3)


def test_torchrun_does_the_same_to_the_last_bit(tmp_path, undisturbed):
    folder, (first, _) = undisturbed
    record = json.loads(run(tmp_path, TORCHRUN, *TINY).stdout)
    assert record["metrics"] == first["metrics"]
    assert same(weights(tmp_path, record), weights(folder, first))
    assert record["files"]["correct.safetensors"] == first["files"]["correct.safetensors"]
    refused = run(tmp_path, TORCHRUN, "-m", *TINY, "seed=0,1", status=1)
    assert len(re.findall("bot-train: -m under torchrun: its ranks share one run", refused.stderr)) == 1


def started(folder, *arguments):
    """Return a run that has seen an epoch."""
    process = subprocess.Popen(
        [*TRAIN, *LONG, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert any(line.startswith("epoch   1") for line in process.stderr)
    return process


def ranks_of(process):
    """Process numbers of the ranks of a run, by rank."""
    found = {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ") as file:
                environ = dict(pair.split("=", 1) for pair in file.read().split("\0") if "=" in pair)
            with open(f"/proc/{entry}/cmdline") as file:
                is_rank = "bagoftricks.run.rank" in file.read().split("\0") and "RANK" in environ
            if is_rank and os.readlink(f"/proc/{entry}/cwd") == os.readlink(f"/proc/{process.pid}/cwd"):
                found[int(environ["RANK"])] = int(entry)
        except OSError:
            continue
    return found


def ended(process, within):
    """Standard error of a process that ends in time."""
    begun = time.monotonic()
    _, error = process.communicate(timeout=100)
    assert time.monotonic() - begun < within
    return error


def test_a_run_that_is_stopped_saves_and_goes_on_bit_for_bit(tmp_path, undisturbed):
    folder, (first, _) = undisturbed
    stop_after = ["runtime.checkpoint_steps=5"]
    process = subprocess.Popen(
        [*TRAIN, *TINY, "runtime.devices=2", *stop_after], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert any(line.startswith("epoch   1") for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    error = ended(process, within=60)
    if process.returncode == 75:
        assert "interrupted at step" in error
    again = json.loads(run(tmp_path, TRAIN, *TINY, "runtime.devices=2").stdout)
    assert again["metrics"] == first["metrics"]
    assert same(weights(tmp_path, again), weights(folder, first))


def test_a_long_run_that_is_stopped_ends_with_75(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert "interrupted at step" in ended(process, within=60)
    assert process.returncode == 75
    assert len(list(tmp_path.rglob("checkpoints/*.safetensors"))) == 1


@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_rank_that_is_killed_ends_the_run_in_seconds_with_the_reason(tmp_path, which):
    process = started(tmp_path)
    victim = ranks_of(process)[which]
    os.kill(victim, signal.SIGKILL)
    error = ended(process, within=60)
    assert process.returncode == 1
    (line,) = [line for line in error.splitlines() if line.startswith("bot-train: ")]
    assert f"rank {which} (process {victim}) was killed by SIGKILL (out of memory?" in line
    failure = json.loads(next(tmp_path.rglob("failure.json")).read_text())
    assert f"process {victim}" in failure["error"]


def test_a_run_of_a_sweep_goes_on_after_one_of_its_ranks_was_killed(tmp_path):
    words = [word.replace("epochs=2", "epochs=20") for word in [*TINY, "runtime.devices=2"]]
    words += ["runtime.checkpoint_steps=5", "design=arms", "tricks=[label_smoothing]"]
    sweep = [sys.executable, "-m", "bagoftricks.cli.sweep", *words]
    process = subprocess.Popen(sweep, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.rglob("checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    ended(process, within=90)
    assert process.returncode == 0
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert [record["environment"]["continuations"] for record in records] == [1]
    assert not list(tmp_path.rglob("failure.json"))


def test_what_cannot_be_shared_is_refused_before_a_rank_is_started(tmp_path):
    begun = time.monotonic()
    refused = run(tmp_path, TRAIN, *TINY, "runtime.devices=3", status=2)
    assert "4 groups of 4 images" in refused.stderr
    few = [word.replace("batch_size=16", "batch_size=2") for word in TINY]
    refused = run(tmp_path, TRAIN, *few, "~tricks.ghost_norm", "runtime.devices=3", status=2)
    assert "leaves a device without images" in refused.stderr
    assert time.monotonic() - begun < 100
