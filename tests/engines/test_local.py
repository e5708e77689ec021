import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from bagoftricks.data import find_dataset
from bagoftricks.engines.base import LOST, Limits, make_engine
from bagoftricks.engines.here import run_here
from bagoftricks.engines.job import last_lines, open_log, train_guarded
from bagoftricks.engines.local import Slice, core_slice, take_slice
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.errors import RankLost
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings, network_settings
from bagoftricks.store.lease import LEASE
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import PlannedRun
from bagoftricks.study.planner import make_plan

TINY = Settings(model=network_settings(depths=[1, 1], width=4), epochs=1, batch_size=64, lr=0.05)
TINY.data.image_size, TINY.data.pad = 8, 1
TINY.runtime.device = "cpu"


class Seen:
    """A view that remembers."""

    def __init__(self):
        self.ended = {}
        self.rows = []
        self.elsewhere = []

    def started(self, run): ...

    def progress(self, run, steps_done, steps, row):
        if row is not None:
            self.rows.append((run.label, row["epoch"]))

    def postponed(self, run, *, elsewhere):
        self.elsewhere.append(elsewhere)

    def finished(self, run, state, seconds):
        self.ended[run.label] = state


def planned(tmp_path, *labels, **changes):
    """Runs named after their learning rate."""
    arms = [Arm(label=label, settings=(f"lr={label}",)) for label in labels]
    base = replace(TINY, store=str(tmp_path / "store"), **changes)

    def compose(overrides):
        rates = [float(o.partition("=")[2]) for o in overrides if o.startswith("lr=")]
        return replace(base, lr=rates[-1]) if rates else base

    return make_plan(arms, [0], [], compose).runs


def run_in_workers(runs, view, *, slots=1, time_limit=None, worker=False):
    carry_out_study(runs, view, make_engine("local", {}), Limits(slots, time_limit), worker=worker)


def test_workers_train_every_run_and_tell_of_it(tmp_path):
    runs, seen = planned(tmp_path, "0.05", "0.06"), Seen()
    run_in_workers(runs, seen, slots=2)
    store = Store(tmp_path / "store")
    assert seen.ended == {"0.05": RunState.DONE, "0.06": RunState.DONE}
    assert sorted(seen.rows) == [("0.05", 1), ("0.06", 1)]
    assert all(store.record(run.id) is not None for run in runs)
    assert all((store.folder(run.id) / LOG).read_text() for run in runs)


@pytest.mark.parametrize("launch", [run_here, run_in_workers])
def test_a_run_that_fails_loses_only_itself_and_keeps_its_traceback(tmp_path, launch, capfd):
    runs, seen = planned(tmp_path, "1e30", "0.05"), Seen()
    launch(runs, seen)
    assert seen.ended == {"1e30": RunState.FAILED, "0.05": RunState.DONE}
    failure = Store(tmp_path / "store").failure(runs[0].id)
    assert failure["error"].startswith("the training loss is")
    assert "TrainingFailed" in failure["traceback"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("place", [os.mkdir, os.mkfifo, partial(os.symlink, "elsewhere")])
def test_a_log_that_cannot_be_written_is_done_without(tmp_path, place):
    place(tmp_path / LOG)
    os.write(log := open_log(tmp_path / LOG), b"a line")
    os.close(log)
    assert last_lines(tmp_path / LOG) == ""
    assert not (tmp_path / "elsewhere").exists()
    os.close(open_log(tmp_path / "run" / LOG))
    assert (tmp_path / "run" / LOG).is_file()


def test_runs_in_one_process_find_their_data_once(tmp_path, monkeypatch):
    found = []

    def find(settings):
        found.append(settings.name)
        return find_dataset(settings)

    monkeypatch.setattr("bagoftricks.engines.warm.find_dataset", find)
    runs, seen = planned(tmp_path, "0.05", "0.06"), Seen()
    run_here(runs, seen)
    assert set(seen.ended.values()) == {RunState.DONE}
    assert found == ["digits"]


def test_a_sweep_in_one_process_waits_for_a_run_that_another_trains(tmp_path):
    (run,), seen = planned(tmp_path, "0.05"), Seen()
    lease = Store(tmp_path / "store").claim(run.id)
    with lease:
        waiting = threading.Thread(target=run_here, args=([run], seen))
        waiting.start()
        time.sleep(1.0)
        assert waiting.is_alive()
        assert seen.ended == {}
    waiting.join(60)
    assert seen.ended == {"0.05": RunState.DONE}
    assert seen.elsewhere == [True]


def test_a_run_over_its_time_limit_is_ended_as_failed(tmp_path):
    runs, seen = planned(tmp_path, "0.05", epochs=100_000), Seen()
    run_in_workers(runs, seen, slots=1, time_limit=0.5)
    assert seen.ended == {"0.05": RunState.FAILED}
    assert seen.elsewhere == []  # it was not started again
    assert "time limit of 0.5 s" in Store(tmp_path / "store").failure(runs[0].id)["error"]


ARMS = "tricks=[resnet_d,mixup,cosine,label_smoothing]"
TINY_SWEEP = ["model.depths=[1,1]", "model.width=4", "epochs=1", "runtime.device=cpu", "store=store"]


def sweep(cwd, *arguments):
    command = [sys.executable, "-m", "bagoftricks.cli.sweep", "design=one_at_a_time", ARMS, *TINY_SWEEP, *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_one_worker(store):
    """SIGKILL the first process that is seen to hold a lease."""
    for _ in range(3000):
        for lease in store.glob(f"*/{LEASE}"):
            try:
                os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
            except (OSError, ValueError):
                continue
            return lease.parent.name
        time.sleep(0.02)
    raise AssertionError("no worker was seen")


@pytest.mark.slow
@pytest.mark.serial
def test_two_sweeps_over_one_store_train_each_run_once_though_a_worker_is_killed(tmp_path):
    first, second = (sweep(tmp_path, "seeds=2", "slots=2") for _ in range(2))
    killed = kill_one_worker(tmp_path / "store")
    ended = [process.communicate(timeout=500) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], ended
    records = list((tmp_path / "store").glob("*/record.json"))
    assert len(records) == 10
    trained = {path.parent.name: (path.parent / LOG).read_text().count("'epoch': 1,") for path in records}
    assert {run: count for run, count in trained.items() if run != killed} == dict.fromkeys(set(trained) - {killed}, 1)
    assert not list((tmp_path / "store").glob(f"*/{LEASE}"))


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.long  # in CI: tests/study/test_torture.py
def test_a_sweep_that_was_killed_runs_only_what_is_missing(tmp_path):
    first = sweep(tmp_path, "seeds=2")
    while len(list((tmp_path / "store").glob("*/record.json"))) < 3:
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.communicate()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/record.json")}
    second = sweep(tmp_path, "seeds=2")
    out, err = second.communicate(timeout=500)
    assert second.returncode == 0, err
    assert len(list((tmp_path / "store").glob("*/record.json"))) == 10
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert f"{len(done)} finished before" in err
    assert "made by: bot-sweep" in out


@pytest.mark.parametrize(
    ("devices", "there", "per_device", "visible", "wanted"),
    [
        (1, 4, 1, None, ["0", "1", "2", "3"]),
        (2, 4, 1, None, ["0,1", "2,3"]),
        (1, 2, 2, None, ["0", "0", "1", "1"]),
        (1, 2, 1, "5,7", ["5", "7"]),
        (1, 1, 2, None, [None, None]),
        (-1, 4, 1, None, [None]),
    ],
)
def test_each_slot_has_gpus_of_its_own(monkeypatch, devices, there, per_device, visible, wanted):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    engine = make_engine("local", {"slots_per_device": per_device})
    settings = replace(TINY, runtime=replace(TINY.runtime, device="auto", devices=devices))
    run = PlannedRun("a", 0, "0" * 20, settings, "bot-train")
    engine.gpus = there
    engine.slots = engine.default_slots([run])
    assert [engine.slice_of(run, slot).gpus for slot in range(engine.slots)] == wanted


def test_without_a_gpu_there_is_one_slot():
    engine, run = make_engine("local", {}), PlannedRun("a", 0, "0" * 20, TINY, "bot-train")
    engine.gpus = 4  # the runs are for the CPU
    assert engine.default_slots([run]) == 1


@pytest.mark.parametrize(
    ("cores", "slots", "pin", "wanted"),
    [
        (8, 2, True, [{0, 1, 2, 3}, {4, 5, 6, 7}]),
        (7, 3, True, [{0, 1}, {2, 3}, {4, 5}]),
        (2, 2, True, [None, None]),
        (8, 2, False, [None, None]),
        (8, 1, True, [None]),
    ],
)
def test_each_slot_has_cores_of_its_own(monkeypatch, cores, slots, pin, wanted):
    monkeypatch.setattr("bagoftricks.engines.local.own_cores", lambda: set(range(cores)))
    assert [core_slice(slot, slots, pin=pin) for slot in range(slots)] == wanted


def test_a_worker_keeps_to_its_slice(monkeypatch):
    taken = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, cores: taken.append((pid, cores)))
    monkeypatch.setattr("bagoftricks.engines.local.take_share", taken.append)
    monkeypatch.setattr("torch.set_num_threads", lambda count: taken.append(f"{count} threads"))
    take_slice(Slice(2, frozenset({4, 5}), "1"))
    assert taken[:2] == [(0, {4, 5}), 2]
    assert taken[2].endswith(" threads")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_lost_rank_is_a_lost_job(tmp_path, monkeypatch):
    def lose(*given):
        raise RankLost("rank 1 was killed by SIGKILL")

    monkeypatch.setattr("bagoftricks.engines.job.carry_out", lose)
    (run,), store = planned(tmp_path, "0.05"), Store(tmp_path / "store")
    assert train_guarded(run, store, SilentReporter(), trace_shown=False) == LOST
    assert store.failure(run.id)["error"] == "rank 1 was killed by SIGKILL"
