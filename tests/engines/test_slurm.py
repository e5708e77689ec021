"""engine=slurm over a queue that does as it is told: what is submitted, what is waited for, what fails."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from bagoftricks.engines import slurm, slurm_job
from bagoftricks.engines.base import Limits, make_engine, typed_engine_values
from bagoftricks.engines.slurm_job import NOTE, TIME_IS_UP
from bagoftricks.engines.slurm_local import LocalQueue, local_number
from bagoftricks.engines.slurm_notices import stuck_line
from bagoftricks.engines.slurm_queue import JobEnd, QueuedJob, SlurmQueue, complaint, slurm_answer
from bagoftricks.engines.slurm_setup import guarded, setup_failure
from bagoftricks.engines.submissions import Submission, Submissions, read_runs, run_values
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.errors import UserError
from bagoftricks.settings import Settings
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun
from tests.engines.test_local import Seen
from tests.engines.test_supervisor import IDENTITY
from tests.study.locked import record_of


class Cluster:
    """A queue in memory. ``act`` is called whenever the queue is looked at, with the runs of each live job."""

    pauses = (0.0, 0.0)

    def __init__(self):
        self.arrays, self.ends, self.cancelled = [], {}, []
        self.waits = {}  # by number of a job: SLURM's reason that it is pending
        self.act = lambda job, runs: JobEnd("COMPLETED")

    def take(self, executor, specs):
        self.arrays.append([read_runs(Path(spec))[0] for spec in specs])
        number = len(self.arrays)
        return [f"{number}_{index}" for index in range(len(specs))] if len(specs) > 1 else [f"{number}"]

    def jobs(self, submissions):
        found = {}
        for submission in submissions:
            if not submission.number:
                continue
            for index, runs in enumerate(self.arrays[int(submission.number) - 1]):
                number = f"{submission.number}_{index}"
                if number not in self.ends and (end := self.act(number, runs)) is not None:
                    self.ends[number] = end
                now = JobEnd("PENDING" if number in self.waits else "RUNNING")
                state, reason = self.ends.get(number, now).state, self.waits.get(number, "")
                found[submission.name, index] = QueuedJob(number, state, reason)
        return found

    def end(self, job):
        return self.ends[job.number]

    def cancel(self, numbers):
        self.cancelled += numbers

    @property
    def labels(self):
        return [[[run.label for run in runs] for runs in array] for array in self.arrays]


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    monkeypatch.setattr(slurm, "SlurmQueue", lambda: made)
    monkeypatch.setattr(slurm, "submitted", made.take)
    monkeypatch.setattr(slurm.shutil, "which", lambda program: program)
    monkeypatch.setattr(slurm.SlurmEngine, "executor", lambda *_: None)
    monkeypatch.setattr(slurm, "SETTLING_SECONDS", 0.0)
    return made


@pytest.fixture
def runs(tmp_path):
    def make(*labels):
        settings = Settings(store=str(tmp_path / "store"))
        return [PlannedRun(label, 0, f"{ord(label):020x}", settings, "bot-train", None, IDENTITY) for label in labels]

    return make


def finish(run):
    whole = PlannedRun(run.label, run.seed, run.id, run.settings, run.command, None, IDENTITY)
    Store(run.settings.store).write_record(record_of(whole, 50.0))


def complete(job, runs):
    for run in runs:
        finish(run)
    return JobEnd("COMPLETED")


def go(runs, **settings):
    seen, limits = Seen(), Limits(settings.pop("slots", None), settings.pop("time_limit", None))
    carry_out_study(runs, seen, make_engine("slurm", settings), limits)
    return seen


def test_all_runs_are_one_array_and_nothing_but_records_is_left(cluster, runs, tmp_path):
    cluster.act = complete
    assert go(runs(*"abcde"), runs_per_job=2).ended == dict.fromkeys("abcde", RunState.DONE)
    assert cluster.labels == [[["a", "b"], ["c", "d"], ["e"]]]
    assert not (tmp_path / "store" / "engines").exists()


def test_an_array_holds_no_more_jobs_than_slurm_takes(cluster, runs, monkeypatch):
    monkeypatch.setattr(slurm, "MOST_JOBS", 2)
    cluster.act = complete
    go(runs(*"abc"))
    assert cluster.labels == [[["a"], ["b"]], [["c"]]]


def test_a_job_reads_its_runs_as_data_with_their_time_limit(cluster, runs, tmp_path):
    (run,) = runs("a")
    go([run], wait=False, time_limit=7.0)
    (spec,) = tmp_path.glob("store/engines/slurm/*/files/runs-0.json")
    (read,), limit = read_runs(spec)
    assert (read.id, read.label, read.settings, read.command, limit) == (run.id, "a", run.settings, run.command, 7.0)
    assert spec.parent.stat().st_mode & 0o77 == 0


def test_what_is_queued_is_never_submitted_again_and_is_waited_for(cluster, runs):
    cluster.act = lambda job, runs: None
    assert go(runs(*"ab"), wait=False).ended == {}
    assert go(runs(*"abc"), wait=False).ended == {}
    assert cluster.labels == [[["a"], ["b"]], [["c"]]]
    cluster.act = complete
    assert go(runs(*"abc")).ended == dict.fromkeys("abc", RunState.DONE)
    assert len(cluster.arrays) == 2


def test_two_commands_at_once_submit_each_run_once(cluster, runs):
    cluster.act = lambda job, runs: None
    many = runs(*"abcdefgh")
    threads = [threading.Thread(target=go, args=(many,), kwargs={"wait": False}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cluster.labels == [[[label] for label in "abcdefgh"]]


def test_a_lost_job_is_submitted_again_and_fails_after_its_tries(cluster, runs, tmp_path):
    (run,) = runs("a")
    cluster.act = lambda job, runs: JobEnd("OUT_OF_MEMORY", 0, 9)
    assert go([run]).ended == {"a": RunState.FAILED}
    assert len(cluster.arrays) == 3
    error = Store(tmp_path / "store").failure(run.id)["error"]
    assert error == (
        "its process was in job 3_0, which ended as OUT_OF_MEMORY by signal 9 (type a larger engine.mem_gb=)"
    )


def test_tries_are_counted_over_commands_and_begin_again_with_retry_failed(cluster, runs, tmp_path):
    (run,) = runs("a")
    cluster.act = lambda job, runs: JobEnd("NODE_FAIL")
    for _ in range(2):
        go([run], wait=False, tries=2)
    assert len(cluster.arrays) == 2
    store = Store(tmp_path / "store")
    go([run], wait=False, tries=2)
    assert len(cluster.arrays) == 2
    assert store.state(run.id) is RunState.FAILED
    store.clear_marks(run.id)  # as retry=failed does
    for _ in range(3):
        go([run], wait=False, tries=2)
    assert len(cluster.arrays) == 4


def test_a_run_that_gets_further_each_time_is_tried_on(cluster, runs, tmp_path):
    (run,) = runs("a")
    folder = Store(tmp_path / "store").folder(run.id) / "checkpoints"
    folder.mkdir(parents=True)

    def advance(job, runs):
        if len(cluster.arrays) == 6:
            return complete(job, runs)
        (folder / f"{len(cluster.arrays):09}.safetensors").touch()
        return JobEnd("PREEMPTED")

    cluster.act = advance
    assert go([run]).ended == {"a": RunState.DONE}
    assert len(cluster.arrays) == 6


def test_a_cancelled_job_leaves_its_run_interrupted_until_the_command_is_typed_again(cluster, runs):
    cluster.act = lambda job, runs: JobEnd("CANCELLED")
    assert go(runs("a")).ended == {"a": RunState.INTERRUPTED}
    assert len(cluster.arrays) == 1
    cluster.act = complete
    assert go(runs("a")).ended == {"a": RunState.DONE}


def test_a_job_that_fails_by_its_own_fault_is_not_tried_again(cluster, runs, tmp_path):
    (run,) = runs("a")

    def fail(job, runs):
        (files,) = tmp_path.glob("store/engines/slurm/*/files")
        (files / "1_0_log.err").write_text("Traceback\nModuleNotFoundError: No module named 'torch'\n\n")
        return JobEnd("FAILED", 1)

    cluster.act = fail
    assert go([run]).ended == {"a": RunState.FAILED}
    failure = Store(tmp_path / "store").failure(run.id)
    assert failure["error"].endswith("ended as FAILED with exit status 1: ModuleNotFoundError: No module named 'torch'")
    assert failure["traceback"].startswith("Traceback")
    assert len(cluster.arrays) == 1


def test_a_job_without_time_says_so_after_its_tries(cluster, runs, tmp_path):
    (run,) = runs("a")

    def stop(job, runs):
        for files in tmp_path.glob("store/engines/slurm/*/files"):
            (files / f"runs-0{NOTE}").write_text(TIME_IS_UP)
        return JobEnd("COMPLETED")

    cluster.act = stop
    assert go([run], tries=2).ended == {"a": RunState.FAILED}
    assert len(cluster.arrays) == 2
    assert "type a larger engine.time=" in Store(tmp_path / "store").failure(run.id)["error"]


def test_a_run_that_failed_in_its_job_is_told_while_the_job_goes_on(cluster, runs, tmp_path):
    one, other = runs("a", "b")

    def act(job, runs):
        store = Store(tmp_path / "store")
        if store.state(one.id) is RunState.FAILED:
            return complete(job, runs[1:])
        store.mark_failed(one.id, "loss is nan", "")
        return None

    cluster.act = act
    assert go([one, other], runs_per_job=2).ended == {"a": RunState.FAILED, "b": RunState.DONE}


def test_the_states_of_queued_and_running_runs_are_known(cluster, runs, tmp_path):
    one, other, new = runs("a", "b", "c")
    cluster.act, cluster.waits = lambda job, runs: None, {"1_0": "Priority"}
    go([one, other], wait=False)
    engine = make_engine("slurm", {})
    assert engine.states([one, other, new]) == {one.id: RunState.QUEUED, other.id: RunState.RUNNING}
    go([new], wait=False)
    with Store(tmp_path / "store").claim(new.id):
        assert engine.states([one, new]) == {one.id: RunState.QUEUED, new.id: RunState.RUNNING}


def test_the_later_run_of_a_job_under_way_is_queued(cluster, runs, tmp_path):
    one, other = runs("a", "b")
    cluster.act = lambda job, runs: None
    go([one, other], wait=False, runs_per_job=2)
    with Store(tmp_path / "store").claim(one.id):
        found = make_engine("slurm", {}).states([one, other])
    assert found == {one.id: RunState.RUNNING, other.id: RunState.QUEUED}


def test_what_ended_while_nobody_waited_is_removed_and_nothing_goes_on(cluster, runs, tmp_path):
    many = runs("a", "b")
    go(many, wait=False)
    complete("", many)
    engine = make_engine("slurm", {"wait": False})
    engine.forget(many)
    assert not (tmp_path / "store" / "engines").exists()
    assert engine.left() == ""


def test_a_command_that_ends_before_its_jobs_names_what_ends_them(cluster, runs):
    cluster.act = lambda job, runs: None
    engine = make_engine("slurm", {"wait": False})
    carry_out_study(runs("a", "b"), Seen(), engine, Limits())
    assert engine.left() == "2 runs are in the queue of SLURM as job 1 (scancel 1 ends it)"


def test_a_submission_that_fails_leaves_nothing(cluster, runs, monkeypatch, tmp_path):
    def refuse(executor, specs):
        raise UserError("engine=slurm: sbatch: error: no")

    monkeypatch.setattr(slurm, "submitted", refuse)
    with pytest.raises(UserError, match="sbatch: error: no"):
        go(runs("a"))
    assert not (tmp_path / "store" / "engines").exists()


def test_a_submission_whose_command_died_before_sbatch_answered_is_made_again(cluster, runs, tmp_path):
    (run,) = runs("a")
    Submissions(Store(tmp_path / "store"), "slurm").begin([[run]], {run.id: [0]}, None)
    cluster.act = complete
    assert go([run]).ended == {"a": RunState.DONE}
    assert cluster.labels == [[["a"]]]


def test_runs_that_fail_alike_stop_the_study_and_cancel_its_jobs(cluster, runs, tmp_path):
    def act(job, runs):
        store = Store(tmp_path / "store")
        if int(job.partition("_")[2]) < 3:
            store.mark_failed(runs[0].id, "no such folder", "")
            return JobEnd("COMPLETED")
        return None

    cluster.act = act
    with pytest.raises(Exception, match=r"3 runs failed alike .*: the other 3 were not started"):
        go(runs(*"abcdef"))
    assert cluster.cancelled[:1] == ["1"]


# --- what a command that waits says ---


def after(looks, act):
    """Do nothing for some looks at the queue, then act."""
    seen = []
    return lambda job, runs: act(job, runs) if seen.append(1) or len(seen) > looks else None


def test_a_command_that_waits_names_its_jobs_before_the_first_one_ends(cluster, runs, capsys):
    said = []

    def act(job, runs):
        said.append(capsys.readouterr().err)
        return complete(job, runs) if len(said) > 4 else None

    cluster.act = act
    go(runs("a", "b"), wait=False)
    go(runs("a", "b"))
    line = "engine=slurm: 2 runs are in the queue of SLURM as job 1 (scancel 1 ends it)\n"
    assert "".join(said) + capsys.readouterr().err == line


def test_a_job_that_can_never_start_is_told_once_with_the_reason(cluster, runs, capsys):
    cluster.act, cluster.waits = after(4, complete), {"1_0": "PartitionTimeLimit"}
    go(runs("a"))
    line = "engine=slurm: job 1 may never start: SLURM holds it back for PartitionTimeLimit (scancel 1 ends it)"
    assert capsys.readouterr().err.splitlines()[1:] == [line]


def test_a_job_that_only_waits_its_turn_is_not_told(cluster, runs, capsys):
    cluster.act, cluster.waits = after(4, complete), {"1_0": "Priority"}
    go(runs("a"))
    assert "may never start" not in capsys.readouterr().err


def test_a_command_that_does_not_wait_names_what_holds_its_jobs_back(cluster, runs):
    cluster.act, cluster.waits = lambda job, runs: None, {"1_0": "QOSMaxCpuPerJobLimit"}
    go(runs("a"), wait=False)
    engine = make_engine("slurm", {"wait": False})
    carry_out_study(runs("a"), Seen(), engine, Limits())
    assert engine.left().endswith("; " + stuck_line("1", "QOSMaxCpuPerJobLimit"))


@pytest.mark.parametrize(("cpus", "names"), [(2, "engine.cpus"), (1, "")])
def test_settings_that_jobs_in_the_queue_do_not_have_are_named(cluster, runs, capsys, cpus, names):
    cluster.act = lambda job, runs: None
    go(runs("a", "b"), wait=False, cpus=1)
    go(runs("a", "b"), wait=False, cpus=cpus, tries=2)
    again = "scancel 1 first, to submit it with these"
    line = f"engine=slurm: job 1 was submitted with other settings ({names}): {again}\n"
    assert capsys.readouterr().err == (line if names else "")


def test_a_controller_that_goes_and_comes_back_is_told_once_each_time(cluster, runs, capsys, monkeypatch):
    looks, ask = [], cluster.jobs

    def jobs(submissions):
        looks.append(1)
        if len(looks) in (4, 5, 7):
            raise UserError("engine=slurm: squeue: connect failure")
        return ask(submissions)

    monkeypatch.setattr(cluster, "jobs", jobs)
    cluster.act = after(6, complete)
    assert go(runs("a")).ended == {"a": RunState.DONE}
    gone = "engine=slurm: SLURM does not answer (squeue: connect failure): waiting for it"
    assert capsys.readouterr().err.splitlines()[1:] == [gone, "engine=slurm: SLURM answers again"] * 2


# --- setup ---


def test_a_failing_setup_fails_the_run_with_its_words_and_is_not_tried_again(cluster, runs, tmp_path):
    (run,) = runs("a")

    def fail(job, runs):
        (files,) = tmp_path.glob("store/engines/slurm/*/files")
        script = "\n".join(guarded(["true", "nosuchmodule", "echo trained"]))
        made = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert (made.returncode, made.stdout) == (1, "")
        (files / "1_0_log.err").write_text(made.stderr)
        return JobEnd("FAILED", 1)

    cluster.act = fail
    assert go([run]).ended == {"a": RunState.FAILED}
    words = "its process did not start: engine.setup failed: nosuchmodule: command not found"
    assert Store(tmp_path / "store").failure(run.id)["error"] == words
    assert len(cluster.arrays) == 1


def test_a_setup_that_fails_without_a_word_is_named():
    made = subprocess.run(["sh", "-c", "\n".join(guarded(["test -d '/no such'"]))], capture_output=True, text=True)
    assert setup_failure(f"of an earlier job\n{made.stderr}") == "engine.setup failed: test -d '/no such'"
    assert setup_failure("engine.setup failed: false\nof a later one\n") == ""


@pytest.mark.filterwarnings("ignore:.*subprocess.Popen.__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # submitit lets its processes go
def test_a_failing_setup_of_local_jobs_fails_their_runs_too(runs, tmp_path):
    many = runs("a", "b")
    assert go(many, cluster="local", setup=["nosuchmodule"]).ended == dict.fromkeys("ab", RunState.FAILED)
    for run in many:
        assert "engine.setup failed: nosuchmodule: " in Store(tmp_path / "store").failure(run.id)["error"]


# --- SLURM's words ---


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (JobEnd("FAILED", 3), 3, "ended as FAILED with exit status 3"),
        (JobEnd("FAILED", 137), -9, "by signal 9 (out of memory? type a larger engine.mem_gb=)"),
        (JobEnd("FAILED", 0, 11), -11, "by signal 11"),
        (JobEnd("TIMEOUT", 0, 0), -9, "type a larger engine.time="),
        (JobEnd("COMPLETED"), -9, "ended as COMPLETED"),
        (JobEnd(), -9, "ended without a word"),
    ],
)
def test_the_end_of_a_job_tells_an_accident_from_a_fault(end, status, words):
    assert end.status == status
    assert words in end.described()


def test_the_queue_is_read_by_the_names_of_submissions(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "bagoftricks.engines.slurm_queue.slurm_answer",
        lambda *command: asked.append(command) or "bot-x|12_3|PENDING|Priority\nbot-y|13|RUNNING|None\n",
    )
    found = SlurmQueue().jobs([Submission(name, ((),), {}) for name in ("bot-y", "bot-x")])
    assert found == {
        ("bot-x", 3): QueuedJob("12_3", "PENDING", "Priority"),
        ("bot-y", 0): QueuedJob("13", "RUNNING", "None"),
    }
    assert len(asked) == 1
    assert "--name=bot-x,bot-y" in asked[0]


def test_a_command_of_slurm_that_is_missing_or_complains_is_one_line():
    with pytest.raises(UserError, match=r"^engine=slurm: there is no no_such_squeue here: .*engine=local$"):
        slurm_answer("no_such_squeue")
    with pytest.raises(UserError, match=r"^engine=slurm: ls: "):
        slurm_answer("ls", "--no-such-option")
    assert complaint("\n  sbatch: error: a\nsbatch: error: b\n") == "sbatch: error: a"


def test_without_sbatch_the_engine_says_where_to_type_the_command(runs, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no sbatch here"):
        go(runs("a"))


def test_a_local_process_is_a_job_for_as_long_as_it_lives():
    living = local_number([str(os.getpid())])
    jobs = LocalQueue().jobs([Submission("x", (("a",),), {}, living), Submission("y", (("b",),), {}, "1:0")])
    assert jobs == {("x", 0): QueuedJob(str(os.getpid()), "RUNNING")}


# --- settings ---


@pytest.mark.parametrize(
    "typed",
    ["time=0", "gpus=-1", "mem_gb=0", "tries=0", "runs_per_job=0", "cluster=pbs", "save_seconds=0"],
)
def test_a_setting_out_of_range_is_refused(typed):
    name, _, value = typed.partition("=")
    with pytest.raises(UserError, match=f"^engine.{name}="):
        make_engine("slurm", typed_engine_values("slurm", {name: value}))
    with pytest.raises(UserError, match="save_seconds=60"):
        make_engine("slurm", {"time": 1, "save_seconds": 60})


def test_the_settings_reach_sbatch(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda *_: 2)
    typed = {"partition": "gpu", "time": "90", "gpus": "2", "cpus": "4", "mem_gb": "7.5"}
    typed |= {"extra": "[exclusive,mail-type=END]", "setup": "['module load cuda']", "account": "lab"}
    engine = make_engine("slurm", typed_engine_values("slurm", typed))
    first, *_ = many = runs("a", "b", "c")
    engine.find(many)
    engine.limits = Limits(2)
    made = Submission("bot-x", tuple((run.id,) for run in many), {})
    executor = engine.executor(made, first)
    executor.parameters["map_count"] = 3
    script = executor._make_submission_file_text("work", "")
    for option in (
        *("partition=gpu", "time=90", "gpus-per-node=2", "cpus-per-task=4", "mem=7680M", "account=lab"),
        *("array=0-2%2", "signal=USR2@120", "requeue", "exclusive", "mail-type=END", "job-name=bot-x"),
    ):
        assert f"#SBATCH --{option}\n" in script
    assert "\nmodule load cuda\n" in script
    assert "--cpus-per-task=4" in script.rpartition("srun")[2]


def test_short_runs_share_a_job_where_like_runs_are_known(cluster, runs, monkeypatch):
    many = runs(*"abcdef")
    engine = make_engine("slurm", {})
    engine.find(many)
    engine.limits = Limits()
    assert engine.chunk(many) == 1
    monkeypatch.setattr("bagoftricks.study.estimate.like_records", lambda plan, store: [record_of(many[0], 50.0)])
    seconds = record_of(many[0], 50.0).cost.wall_seconds
    monkeypatch.setattr(slurm, "JOB_SECONDS", 3 * seconds)
    assert engine.chunk(many) == 3
    engine.limits = Limits(3)
    assert engine.chunk(many) == 2


@pytest.fixture
def handlers():
    """Restore the handlers of signals, which a job that has ended ignores."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_job_leaves_out_what_is_done_and_has_failed(runs, tmp_path, monkeypatch):
    one, other, third = runs("a", "b", "c")
    finish(one)
    Store(tmp_path / "store").mark_failed(other.id, "no", "")
    spec = tmp_path / "runs.json"
    spec.write_text(json.dumps({"time_limit": 3.0, "runs": [run_values(run) for run in (one, other, third)]}))
    seen = []
    monkeypatch.setattr(
        slurm_job, "carry_out_study", lambda runs, view, engine, limits: seen.append(([r.id for r in runs], limits))
    )
    slurm_job.work_off(spec)
    assert seen == [([third.id], Limits(1, 3.0))]


@pytest.mark.parametrize(
    ("variables", "number"),
    [({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3"), ({}, "9")],
    ids=["a task of an array", "a job without one"],
)
def test_a_job_whose_time_is_up_puts_itself_alone_into_the_queue_again(monkeypatch, variables, number):
    typed = []

    def run(command, **how):
        typed.append(command)
        return subprocess.CompletedProcess(command, 0)

    for name in ("SUBMITIT_EXECUTOR", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_JOB_ID": "9", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "run", run)
    assert slurm_job.begin_again()
    assert typed == [["scontrol", "requeue", number]]
