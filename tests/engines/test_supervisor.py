"""What follows from the end of a job, over an engine that ends jobs as it is told."""

import signal
from dataclasses import replace

import pytest

from bagoftricks.engines.base import (
    ELSEWHERE,
    INTERRUPTED,
    LOST,
    Ended,
    Engine,
    Limits,
    make_engine,
    typed_engine_values,
)
from bagoftricks.engines.supervisor import ATTEMPTS, QuickFailures, carry_out_study, in_own_order
from bagoftricks.errors import TrainingFailed, UserError
from bagoftricks.settings import Settings
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun
from tests.engines.test_local import Seen
from tests.study.locked import record_of

IDENTITY = {"data": {"digest": "d", "num_classes": 10}, "tricks": {}, "model": {"name": "resnet"}}


class Scripted(Engine):
    """An engine that ends the next job of each run with the next status of its list; 0 leaves a record."""

    def __init__(self, ends, *, places=1, **about):
        self.ends, self.places, self.jobs, self.order, self.most = ends, places, [], [], 0
        self.about, self.closed = about, False

    def in_flight(self, runs):
        found = [run for run in runs if run.label in self.about.get("queued", ())]
        self.jobs += found
        return found

    def room(self):
        return self.places - len(self.jobs)

    @property
    def detached(self):
        return self.about.get("detached", False)

    def submit(self, runs):
        self.order += [run.label for run in runs]
        self.jobs += runs
        self.most = max(self.most, len(self.jobs))

    def poll(self):
        run = self.jobs.pop(0)
        status, *self.ends[run.label] = self.ends[run.label] or [0]
        store = Store(run.settings.store)
        if status == 0:
            store.write_record(record_of(run, 50.0))
        elif status in (1, LOST):
            store.mark_failed(run.id, self.about.get("error", f"of {run.label}"), "")
        elif status == INTERRUPTED:
            store.folder(run.id).mkdir(exist_ok=True)
            store.mark_interrupted(run.id)
        return [Ended(run, status, 0.1, final=self.about.get("final", False))]

    def close(self):
        self.closed = True


@pytest.fixture
def runs(tmp_path):
    def make(*labels):
        settings = Settings(store=str(tmp_path))
        return [PlannedRun(label, 0, f"{ord(label):020x}", settings, "bot-train", None, IDENTITY) for label in labels]

    return make


def carried_out(runs, engine, **more):
    seen = Seen()
    carry_out_study(runs, seen, engine, Limits(), **more)
    assert engine.closed
    return seen


def test_a_run_whose_job_was_killed_is_started_again_last(runs):
    engine = Scripted({"a": [-signal.SIGKILL, 0], "b": [0]})
    seen = carried_out(runs("a", "b"), engine)
    assert engine.order == ["a", "b", "a"]
    assert seen.ended == {"a": RunState.DONE, "b": RunState.DONE}
    assert seen.elsewhere == [False]


def test_a_run_of_which_a_rank_was_lost_is_started_again_without_its_failure(runs, tmp_path):
    engine = Scripted({"a": [LOST, 0], "b": [0]})
    assert carried_out(runs("a", "b"), engine).ended == {"a": RunState.DONE, "b": RunState.DONE}
    assert engine.order == ["a", "b", "a"]
    assert not Store(tmp_path).failed(runs("a")[0].id)


def test_a_run_over_its_limit_is_not_started_again(runs):
    engine = Scripted({"a": [-signal.SIGKILL, 0]}, final=True)
    assert carried_out(runs("a"), engine).ended == {"a": RunState.FAILED}
    assert engine.order == ["a"]


def test_a_run_that_gets_nowhere_fails_with_its_signal(runs, tmp_path):
    (run,) = runs("a")
    engine = Scripted({"a": [-signal.SIGKILL] * 9})
    assert carried_out([run], engine).ended == {"a": RunState.FAILED}
    assert engine.order == ["a"] * ATTEMPTS
    assert "was killed by SIGKILL" in Store(tmp_path).failure(run.id)["error"]


def test_a_run_that_was_stopped_is_left_alone_but_by_an_engine_that_starts_it_again(runs):
    assert carried_out(runs("a"), Scripted({"a": [INTERRUPTED]})).ended == {"a": RunState.INTERRUPTED}
    engine = Scripted({"a": [INTERRUPTED, 0]})
    engine.retries_interrupted = True
    assert carried_out(runs("a"), engine).ended == {"a": RunState.DONE}


def test_no_more_runs_are_submitted_than_there_is_room_for(runs):
    engine = Scripted({label: [0] for label in "abcde"}, places=2)
    carried_out(runs(*"abcde"), engine)
    assert (engine.most, engine.order) == (2, list("abcde"))


def test_a_job_of_an_earlier_command_is_waited_for_and_not_doubled(runs):
    engine = Scripted({"a": [0], "b": [0]}, queued=("a",))
    assert carried_out(runs("a", "b"), engine).ended == {"a": RunState.DONE, "b": RunState.DONE}
    assert engine.order == ["b"]


def test_a_detached_engine_submits_all_and_waits_for_nothing(runs):
    engine = Scripted({}, places=9, detached=True)
    assert carried_out(runs("a", "b"), engine).ended == {}
    assert engine.order == ["a", "b"]


def test_a_run_that_another_sweep_has_is_waited_for_and_a_worker_leaves_it(runs, tmp_path):
    one, other = runs("a", "b")
    with Store(tmp_path).claim(one.id):
        engine = Scripted({"b": [0]})
        assert carried_out([one, other], engine, worker=True).ended == {"b": RunState.DONE}
        assert engine.order == ["b"]
    engine = Scripted({"a": [ELSEWHERE, 0]})  # taken between the look at it and the start of its job
    seen = carried_out([one], engine)
    assert (seen.ended, seen.elsewhere, engine.order) == ({"a": RunState.DONE}, [True], ["a", "a"])


def test_a_run_that_another_sweep_has_done_is_not_started(runs, tmp_path):
    one, other = runs("a", "b")
    Store(tmp_path).write_record(record_of(one, 50.0))
    engine = Scripted({"b": [0]})
    assert carried_out([one, other], engine).ended == {"a": RunState.DONE, "b": RunState.DONE}
    assert engine.order == ["b"]


def test_a_study_whose_runs_all_fail_alike_at_once_is_stopped_with_one_line(runs):
    engine = Scripted({label: [1] for label in "abcdefg"}, error="no such folder")
    with pytest.raises(TrainingFailed, match=r"3 runs failed alike.*\(no such folder\): the other 4 were not started"):
        carried_out(runs(*"abcdefg"), engine)
    assert engine.order == ["a", "b", "c"]
    assert engine.closed


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ([(RunState.DONE, 1.0), *[(RunState.FAILED, 1.0)] * 4], "e"),
        ([(RunState.FAILED, 60.0), *[(RunState.FAILED, 1.0)] * 4], "e"),
        ([(RunState.FAILED, 1.0)] * 4, None),
    ],
    ids=["one succeeds", "one takes its time", "they differ"],
)
def test_single_failures_stop_nothing(runs, ends, error):
    quick = QuickFailures()
    for number, (run, (state, seconds)) in enumerate(zip(runs(*"abcde"), ends, strict=False)):
        quick.note(run, state, seconds, error or f"{number}")
    assert quick.reason(5) is None


def test_the_failures_of_one_arm_are_not_the_studys(runs):
    (run,), quick = runs("a"), QuickFailures()
    for seed in range(4):
        quick.note(replace(run, seed=seed), RunState.FAILED, 0.1, "e")
    assert quick.reason(5) is None


def test_workers_begin_at_different_runs_and_miss_none(runs, monkeypatch):
    todo, first = runs(*"abcdefgh"), set()
    for pid in range(40):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        order = in_own_order(todo)
        assert sorted(run.id for run in order) == [run.id for run in todo]
        first.add(order[0].label)
    assert len(first) > 4
    assert in_own_order([]) == []


def test_settings_of_an_engine_are_typed_and_checked():
    assert typed_engine_values("local", {"slots_per_device": "2", "pin_cores": "false"}) == {
        "slots_per_device": 2,
        "pin_cores": False,
    }
    for name, texts, error in (
        ("locl", {}, "there is no engine 'locl'; did you mean 'local'"),
        ("local", {"slots": "2"}, "engine.slots: is no setting of engine=local"),
        ("local", {"partition": "a"}, "engine.partition: is no setting of engine=local; it is one of engine=slurm"),
        ("slurm", {"time": "1:00:00"}, "engine.time=1:00:00: must be a whole number$"),
        ("local", {"slots_per_device": "two"}, "engine.slots_per_device=two: must be a whole number; its default is 1"),
    ):
        with pytest.raises(UserError, match=error):
            typed_engine_values(name, texts)
    with pytest.raises(UserError, match="must be at least 1"):
        make_engine("local", {"slots_per_device": 0})


def test_failures_that_differ_in_the_name_of_the_run_alone_are_alike(runs):
    quick = QuickFailures()
    for run in runs(*"abc"):
        quick.note(run, RunState.FAILED, 0.1, f"store/{run.id}: no room")
    assert "(store/...: no room)" in quick.reason(5)


def test_a_worker_goes_through_the_runs_in_its_own_order(runs, monkeypatch):
    monkeypatch.setattr("bagoftricks.engines.supervisor.in_own_order", lambda todo: todo[::-1])
    for worker, labels, order in ((True, "ab", "ba"), (False, "cd", "cd")):
        engine = Scripted({label: [0] for label in labels})
        carried_out(runs(*labels), engine, worker=worker)
        assert "".join(engine.order) == order


def test_an_engine_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr("bagoftricks.engines.base.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"submitit is not installed; type pip install 'bagoftricks\[slurm\]'"):
        make_engine("slurm", {})


def test_an_engine_without_what_it_must_have_is_refused():
    with pytest.raises(TypeError, match="poll"):
        type("Half", (Engine,), {"room": lambda self: 1, "submit": lambda self, runs: None})()
