"""What is said of processes that a signal ended."""

import signal
import subprocess
import sys

import pytest

from bagoftricks.engines.base import Ended
from bagoftricks.engines.supervisor import settle
from bagoftricks.run.deaths import death_by
from bagoftricks.run.ranks import OUTPUT, RankLauncher
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.plan import PlannedRun


@pytest.mark.parametrize(
    ("number", "name", "advice"),
    [
        (signal.SIGKILL, "SIGKILL", "out of memory?"),
        (signal.SIGSEGV, "SIGSEGV", "runtime.channels_last=false"),
        (signal.SIGABRT, "SIGABRT", "ONEDNN_MAX_CPU_ISA=AVX2"),
        (signal.SIGBUS, "SIGBUS", "report it"),
        (signal.SIGILL, "SIGILL", "report it"),
        (signal.SIGHUP, "SIGHUP", ""),
        (120, "signal 120", ""),
    ],
)
def test_a_signal_has_a_name_and_something_to_try(number, name, advice):
    said = death_by(number)
    assert said.startswith(f"was killed by {name}")
    assert advice in said


def test_a_worker_that_died_leaves_its_step_and_its_last_words(tmp_path):
    store = Store(tmp_path)
    run = PlannedRun("a", 0, "0" * 20, Settings(store=str(tmp_path)), "bot-train")
    store.folder(run.id).mkdir()
    (store.folder(run.id) / LOG).write_text("epoch 1\ncorrupted size vs. prev_size\n")
    state, error = settle(Ended(run, -signal.SIGABRT, at="after step 120 of 400"))
    assert state is RunState.FAILED
    failure = store.failure(run.id)
    assert error == failure["error"]
    assert failure["error"].startswith("its process was killed by SIGABRT (native code failed")
    assert failure["error"].endswith("after step 120 of 400")
    assert failure["traceback"].endswith("corrupted size vs. prev_size")


def test_a_rank_that_dies_before_the_run_begins_is_named(tmp_path):
    launcher = RankLauncher.__new__(RankLauncher)
    launcher.folder, launcher.first, launcher.agent = tmp_path, None, subprocess.Popen([sys.executable, "-c", ""])
    (tmp_path / OUTPUT).write_text(
        "E1130 api.py:1002] failed (exitcode: -7) local_rank: 1 (pid: 6405) of binary: python"
    )
    lost = launcher._lost()
    assert lost["text"].startswith("rank 1 (process 6405) was killed by SIGBUS (native code failed")
    assert lost["kind"] == "expected"


CRASH = """
import os, signal
from bagoftricks.run.execute import execute
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import RuntimeSettings, Settings, network_settings

class Crash(SilentReporter):
    def step(self):
        os.kill(os.getpid(), signal.SIGABRT)

model = network_settings(depths=[1, 1], width=4)
settings = Settings(model=model, epochs=1, batch_size=16, image_size=8, runtime=RuntimeSettings(device="cpu"))
settings.data.limit = 32
execute(settings, Crash(), "bot-train")
"""


@pytest.mark.slow
def test_a_run_that_native_code_ends_says_by_which_signal_and_in_which_phase(tmp_path, monkeypatch, untimed):
    ended = subprocess.run([sys.executable, "-c", CRASH], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in ended.stderr
    assert "in train_epoch" in ended.stderr
    monkeypatch.chdir(tmp_path)
    notes = []
    monkeypatch.setattr(SilentReporter, "note", lambda self, text: notes.append(text))
    exec(CRASH.replace("def step", "def crash"), {})
    assert "".join(notes).count("an earlier process of this run ended without a word") == 1
