import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from bagoftricks.cli.app import run_command
from bagoftricks.errors import Interrupted
from bagoftricks.run.execute import execute
from bagoftricks.run.signals import Signals
from bagoftricks.store.store import RunState, Store
from tests.run.interrupted import Stopping, files, left_behind, same, tiny


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as a terminal has it: a shell starts what runs in the background without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def earlier():
    """Handlers that remember."""
    called, before = [], {}
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
        before[number] = signal.signal(number, lambda n, frame: called.append(n))
    yield called
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_noted_and_the_earlier_handler_comes_back(earlier, number):
    before = signal.getsignal(number)
    with Signals() as signals:
        os.kill(os.getpid(), number)
        assert signals.caught is number
        assert earlier == []
    assert signal.getsignal(number) is before


def test_the_earlier_handler_is_called_when_the_run_is_saved(tmp_path, earlier, untimed):
    with pytest.raises(Interrupted, match=r"interrupted by SIGUSR2 at step 3 of 22"):
        execute(tiny(tmp_path), Stopping(3, number=signal.SIGUSR2), "bot-train")
    assert earlier == [signal.SIGUSR2]
    (path,) = files(tmp_path)
    assert path.name == "000000003.safetensors"


def test_a_scheduler_that_ends_the_process_leaves_an_interrupted_run(tmp_path, earlier, untimed):
    def requeue(number, frame):
        (folder,) = tmp_path.iterdir()
        assert Store(tmp_path).state(folder.name) is RunState.RUNNING
        assert (folder / "interrupted").exists()
        sys.exit(-1)

    signal.signal(signal.SIGUSR2, requeue)
    with pytest.raises(SystemExit):
        execute(tiny(tmp_path), Stopping(3, number=signal.SIGUSR2), "bot-train")
    (folder,) = tmp_path.iterdir()
    assert Store(tmp_path).state(folder.name) is RunState.INTERRUPTED


def test_ctrl_c_once_saves_and_twice_quits_at_once(tmp_path, untimed):
    with pytest.raises(Interrupted):
        execute(tiny(tmp_path), Stopping(3, number=signal.SIGINT), "bot-train")
    with pytest.raises(KeyboardInterrupt) as quit_:
        execute(tiny(tmp_path), Stopping(3, number=signal.SIGINT, times=2), "bot-train")
    assert not isinstance(quit_.value, Interrupted)
    assert [path.name for path in files(tmp_path)] == ["000000003.safetensors"]  # of the first time


def test_other_threads_and_ignored_signals_are_left_alone():
    noted = []
    thread = threading.Thread(target=lambda: noted.append(Signals().__enter__()._earlier))
    thread.start()
    thread.join()
    assert noted == [{}]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.caught is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_interrupts_a_command_and_the_earlier_handler_comes_back(earlier):
    before = signal.getsignal(signal.SIGTERM)
    assert run_command("bot-table", [], lambda arguments: os.kill(os.getpid(), signal.SIGTERM)) == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert earlier == []


def test_a_command_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command("bot-table", [], lambda arguments: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def bot_train(store, photos, *more, epochs=400):
    return subprocess.Popen(
        [sys.executable, "-m", "bagoftricks.cli.train", "data=imagefolder", f"data.root={photos}", "image_size=72",
         "model.depths=[1,1]", "model.width=4", f"epochs={epochs}", "batch_size=4", "data.on_error=skip",
         "runtime.workers=2", "runtime.device=cpu", f"store={store}", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def await_rows(process, store, rows):
    """Wait until the process's run has so many rows of metrics."""
    for _ in range(3000):
        found = list(store.glob("*/metrics.csv"))
        if found and found[0].read_text().count("\n") > rows:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("the run does not get on")


@pytest.fixture
def started():
    """Processes that end with the test, and all that they have started with them."""
    processes = []
    yield lambda *arguments, **more: processes.append(bot_train(*arguments, **more)) or processes[-1]
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


SIGNALS = [
    signal.SIGTERM,
    signal.SIGINT,
    *(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGUSR2, signal.SIGHUP)),
]


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_all_processes_of_a_run_saves_it_and_is_status_75(tmp_path, photos, number, started):
    process = started(tmp_path / "store", photos)
    await_rows(process, tmp_path / "store", 2)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert out == ""
    assert "Traceback" not in err
    assert f"interrupted by {number.name} at step" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("type the same command again to resume")
    (path,) = files(tmp_path / "store")
    assert f"at step {int(path.stem):,} of" in err


@pytest.mark.slow
@pytest.mark.serial
def test_the_same_command_goes_on_after_a_kill(tmp_path, photos, started):
    step = "runtime.checkpoint_steps=3"
    process = started(tmp_path / "store", photos, step, epochs=8)
    await_rows(process, tmp_path / "store", 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert files(tmp_path / "store")
    process = started(tmp_path / "store", photos, step, epochs=8)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "continuing run" in err
    assert "top-1" in out
    whole = started(tmp_path / "whole", photos, step, epochs=8)
    whole.communicate(timeout=300)
    records = [next(Store(tmp_path / name).records()) for name in ("store", "whole")]
    one, other = (left_behind(tmp_path / name, r) for name, r in zip(("store", "whole"), records, strict=True))
    one[0][-2] = other[0][-2] = ""  # the commands name their stores
    assert same(one, other)
