"""Processes that carry out several runs: what they keep, what they must not, and when another one takes their place."""

import gc
import hashlib
import multiprocessing
import os
import random
import signal
import time
import weakref
from dataclasses import replace

import pytest
import torch

from bagoftricks.engines import local, warm
from bagoftricks.engines.base import INTERRUPTED, Limits, make_engine
from bagoftricks.engines.here import run_here
from bagoftricks.engines.local import Needs, Slice
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.engines.warm import WarmProcess
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings
from bagoftricks.store.files import note_once
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.plan import PlannedRun
from tests.engines.test_local import TINY, Seen, planned


@pytest.fixture
def process():
    """State of this process between two runs."""
    made = WarmProcess()
    yield made
    made.close()


@pytest.fixture
def processes(monkeypatch):
    """Processes that the engine has started, with their first runs."""
    started = []
    start = local.LocalEngine.start

    def counted(engine, run):
        start(engine, run)
        started.append((run.label, engine.workers[-1].process.pid))

    monkeypatch.setattr(local.LocalEngine, "start", counted)
    return started


def in_workers(runs, view, slots=1):
    carry_out_study(runs, view, make_engine("local", {}), Limits(slots))


def in_fresh_ones(runs, view):
    for run in runs:
        in_workers([run], view)


def results(runs):
    """Scores and weights of each run."""
    found = {}
    for run in runs:
        store = Store(run.settings.store)
        weights = hashlib.sha256(store.weights(run.id).read_bytes()).hexdigest()
        found[run.id] = store.record(run.id).metrics, weights
    return found


@pytest.mark.parametrize("carry_out", [run_here, in_workers])
def test_the_order_of_runs_in_a_process_changes_no_bit_of_their_results(tmp_path, carry_out, processes):
    labels = ["0.05", "0.06", "0.07", "0.08"]
    wanted = planned(tmp_path / "fresh", *labels)
    in_fresh_ones(wanted, Seen())
    processes.clear()
    order = list(planned(tmp_path / "warm", *labels))
    random.Random(1).shuffle(order)
    carry_out(order, Seen())
    assert results(order) == results(wanted)
    assert len(processes) == (carry_out is in_workers)


def test_runs_of_one_slot_share_a_process_and_each_has_its_own_log(tmp_path, processes):
    runs, seen = planned(tmp_path, "0.05", "0.06", "0.07"), Seen()
    in_workers(runs, seen)
    assert set(seen.ended.values()) == {RunState.DONE}
    assert [label for label, _ in processes] == ["0.05"]
    assert [len(lines(run, "'epoch': 1,")) for run in runs] == [1, 1, 1]


def lines(run, text):
    log = Store(run.settings.store).folder(run.id) / LOG
    return [line for line in log.read_text().splitlines() if text in line]


def test_a_failed_run_takes_its_process_with_it(tmp_path, processes):
    runs, seen = planned(tmp_path, "0.05", "1e30", "0.06"), Seen()
    in_workers(runs, seen)
    assert seen.ended == {"0.05": RunState.DONE, "1e30": RunState.FAILED, "0.06": RunState.DONE}
    assert [label for label, _ in processes] == ["0.05", "0.06"]


def test_a_process_that_dies_between_two_runs_costs_nothing(tmp_path, processes):
    runs = planned(tmp_path, "0.05", "0.06")

    class Killing(Seen):
        def finished(self, run, state, seconds):
            super().finished(run, state, seconds)
            if len(self.ended) == 1:
                os.kill(processes[-1][1], signal.SIGKILL)
                time.sleep(0.2)

    seen = Killing()
    in_workers(runs, seen)
    assert seen.ended == {"0.05": RunState.DONE, "0.06": RunState.DONE}
    assert seen.elsewhere == []
    assert len(processes) == 2


def test_runs_that_need_something_else_of_a_process_have_another_one(tmp_path, processes):
    runs = list(planned(tmp_path, "0.05", "0.06", "0.07"))
    other = replace(runs[1].settings, runtime=replace(runs[1].settings.runtime, deterministic=True))
    runs[1] = replace(runs[1], settings=other)
    in_workers(runs, Seen())
    assert [label for label, _ in processes] == ["0.05", "0.06", "0.07"]


@pytest.mark.parametrize(
    "change", [{"device": "cuda"}, {"devices": 2}, {"threads": "2"}, {"deterministic": True}, {}, {"eval_every": 9}]
)
def test_a_process_fits_a_run_with_the_same_devices_threads_and_determinism(change):
    def needs(settings, *own):
        return Needs.of(PlannedRun("a", 0, "0" * 20, settings, "bot-train"), Slice(1, *own))

    changed = replace(TINY, runtime=replace(TINY.runtime, **change))
    assert (needs(changed) == needs(TINY)) == (change in ({}, {"eval_every": 9}))
    assert needs(TINY, frozenset({1})) != needs(TINY)
    assert needs(TINY, None, "1") != needs(TINY)
    assert needs(replace(TINY, plugins=["bagoftricks.rng"])) != needs(TINY)


def test_a_run_that_may_have_run_out_of_memory_is_the_last_one_of_its_process(tmp_path, processes):
    runtime = replace(TINY.runtime, auto_micro_batch=True)
    runs, seen = planned(tmp_path, "0.05", "0.06", runtime=runtime), Seen()
    in_workers(runs, seen)
    assert set(seen.ended.values()) == {RunState.DONE}
    assert [label for label, _ in processes] == ["0.05", "0.06"]


def test_processes_end_with_the_sweep(tmp_path, processes):
    in_workers(planned(tmp_path, "0.05", "0.06"), Seen(), slots=2)
    assert len(processes) == 2
    for _, pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_stop_that_comes_between_two_runs_ends_the_process(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    monkeypatch.setattr(local, "take_slice", lambda own: None)
    monkeypatch.setattr(local, "carry_out_one", lambda *given: 0)
    methods = []
    monkeypatch.setattr(multiprocessing, "set_start_method", lambda name, force: methods.append(name))

    def stopped(connection):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "next_run", stopped)
    local.carry_out_runs(PlannedRun("a", 0, "0" * 20, TINY, "bot-train"), Sent(), Slice(1))
    assert ended == [INTERRUPTED]
    assert methods == [multiprocessing.get_all_start_methods()[0]]  # of the processes that prepare its images


def test_each_log_has_the_notes_of_its_run(monkeypatch, capfd):
    monkeypatch.setattr(local, "log_output", lambda *given: None)

    class Noting:
        def train(self, *given):
            note_once("a fallback")
            return 0

    for _ in range(2):
        local.carry_out_one(PlannedRun("a", 0, "0" * 20, TINY, "bot-train"), Noting(), None)
    assert capfd.readouterr().err.count("a fallback") == 2


class Sent:
    def send(self, told): ...


class Garbage:
    """An object that only the garbage collector frees."""

    def __init__(self):
        self.own = self


def trained(monkeypatch, process, settings, do):
    """Let a process carry out a run that is ``do`` alone."""
    monkeypatch.setattr(warm, "train_guarded", lambda run, *given, **named: do(run.settings))
    run = PlannedRun("a", 0, "0" * 20, settings, "bot-train")
    process.train(run, Store(settings.store), SilentReporter(), lambda settings: None)


def test_each_run_finds_the_generators_of_a_fresh_process(tmp_path, monkeypatch):
    drawn, process = [], WarmProcess()
    for _ in range(2):
        trained(
            monkeypatch, process, replace(TINY, store=str(tmp_path)), lambda s: drawn.append(torch.rand(2).tolist())
        )
    assert drawn[0] == drawn[1]


def test_a_run_leaves_no_garbage_to_the_next_one(tmp_path, monkeypatch, process):
    settings, left = replace(TINY, store=str(tmp_path)), []
    gc.disable()
    try:
        trained(monkeypatch, process, settings, lambda s: left.append(weakref.ref(Garbage())))
        assert left[0]() is not None
        process.tidy()
        assert left[0]() is None
        trained(monkeypatch, process, settings, lambda s: left.append(weakref.ref(Garbage())))
        trained(monkeypatch, process, settings, lambda s: left.append(left[1]()))
        assert left[2] is None
    finally:
        gc.enable()


def test_the_memory_of_a_run_is_returned_before_the_next_one(tmp_path, monkeypatch, process):
    returned: list[bool] = []
    monkeypatch.setattr(warm, "return_freed_memory", lambda: returned.append(True))
    settings = replace(TINY, store=str(tmp_path))
    for _ in range(2):
        trained(monkeypatch, process, settings, lambda s: None)
    assert returned == [True]  # nothing was left before the first


def test_compiled_code_is_kept_for_the_seeds_of_an_arm_alone(tmp_path, monkeypatch, process):
    forgotten = []
    monkeypatch.setattr(warm, "forget_code", lambda *, compiled: forgotten.append(compiled))
    base = replace(TINY, store=str(tmp_path), runtime=replace(TINY.runtime, compile=True))
    arms = [base, replace(base, seed=1), replace(base, store=f"{tmp_path}/2"), replace(base, lr=0.5), Settings()]
    for settings in arms:
        trained(monkeypatch, process, settings, lambda s: None)
    assert forgotten == [True, True]
