"""What goes wrong is said in one line, leaves a failed run, and the checkpoints before it."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from bagoftricks.cli.app import explain
from bagoftricks.errors import DataError, Interrupted, LossNotFinite, RunElsewhere, TrainingFailed
from bagoftricks.run.execute import execute
from bagoftricks.run.failures import expected_failure
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.run.watch import EVERY, LossWatch
from bagoftricks.settings import RuntimeSettings, Settings
from bagoftricks.store import checkpoints as c
from bagoftricks.store import files as f
from bagoftricks.store.lease import FolderLease
from bagoftricks.store.store import RunState, Store
from bagoftricks.training.trainer import Trainer
from tests.run.interrupted import Stopping, files, left_behind, same, stopped_and_continued, streamed, tiny

pytestmark = pytest.mark.usefixtures("untimed")


def each_step():
    return RuntimeSettings(device="cpu", checkpoint_steps=1)


def failed(settings, match, reporter=None, error=TrainingFailed):
    """The folder of the run after a failure with this message."""
    with pytest.raises(error, match=match) as caught:
        execute(settings, reporter or Stopping(), "bot-train")
    assert "\n" not in str(caught.value)
    store = Store(settings.store)
    (folder,) = (path for path in store.root.iterdir() if (path / "failure.json").exists())
    assert store.state(folder.name) is RunState.FAILED
    assert store.failure(folder.name)["error"] == str(caught.value)
    return folder


# --- a loss that is not finite ---


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step_with_the_evidence(tmp_path, monkeypatch):
    settings, objective = tiny(tmp_path, runtime=each_step()), Trainer.objective
    seen = []

    def spoiled(self, batch):
        seen.append(batch)
        return objective(self, batch) * (float("nan") if self.steps_done == 13 else 1.0)

    monkeypatch.setattr(Trainer, "objective", spoiled)
    folder = failed(settings, r"the training loss is nan at step 14 of 22 \(epoch 2\): type a lower lr=, .*evidence")
    found = json.loads((folder / "evidence.json").read_text())
    assert (found["step"], found["of"], found["epoch"], found["gradients_of_step"]) == (14, 22, 2, 14)
    assert found["losses"]["14"] == "nan"
    assert all(0 < float(found["losses"][str(step)]) < 10 for step in range(1, 14))
    assert set(found["gradient_norms"].values()) == {"nan"}
    assert "head.weight" in found["weights_not_finite"]
    train, _ = loaders(prepare(settings))
    ((number, rows),) = [(part["pass"], part["rows"]) for part in found["rows"]]
    assert [(number, rows)] == [(p, r.tolist()) for p, r in list(train.plan.steps(1))[2]]
    assert torch.equal(train.targets[rows], seen[-1].targets.argmax(1))
    assert found["checkpoints_before"] == c.steps_in(folder / c.FOLDER)
    assert max(found["checkpoints_before"]) <= 13


def test_a_run_whose_loss_was_not_finite_fails_again_where_it_did(tmp_path):
    settings = tiny(tmp_path, runtime=each_step())
    settings.lr = 1e30
    first = failed(settings, "at step 2 of 22")
    reporter = Stopping()
    assert failed(settings, "at step 2 of 22", reporter) == first
    assert reporter.began == [1]


def test_a_state_that_is_not_finite_is_not_written(tmp_path):
    made = c.Checkpoints(tmp_path, RuntimeSettings(), lambda: None)
    for total in (1.0, float("nan"), float("inf")):
        made.save(int(total == 1.0), c.TrainingState({"total": torch.tensor(total)}, {}), finite="total")
        made.wait()
    assert made.steps() == [1]


def arriving(loss):
    """A loss as a GPU has it."""
    made = Mock(spec=torch.Tensor, is_cuda=True, loss=loss)
    made.reshape.return_value = made
    return made


def test_the_first_of_many_losses_that_arrive_together_is_named(monkeypatch):
    watch, arrived = LossWatch(), []
    late = watch.late

    def send():
        late._copied = [s for s, _ in late.recent], torch.tensor([[x.loss] for _, x in late.recent]), Event()
        late.recent = []

    class Event:
        def query(self):
            return bool(arrived)

        def synchronize(self): ...

    monkeypatch.setattr(late, "_send", send)
    for step in range(1, 2 * EVERY):
        watch.check(step, arriving(float("nan") if step in (5, 6, 40) else 1.0))
    arrived.append(True)
    with pytest.raises(LossNotFinite) as found:
        watch.check(2 * EVERY, arriving(1.0))
    assert found.value.step == 5
    assert sorted(found.value.losses) == [1, 2, 3, 4, 5]


# --- memory ---


def needs_memory(monkeypatch, images, after=0, error=torch.OutOfMemoryError):
    """No more than so many images fit at a time, from a step on."""
    objective = Trainer.objective

    def limited(self, batch):
        if len(batch) > images and self.steps_done >= after:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return objective(self, batch)

    monkeypatch.setattr(Trainer, "objective", limited)


def test_out_of_memory_says_the_sizes_and_what_to_try(tmp_path, monkeypatch):
    needs_memory(monkeypatch, 8)
    failed(
        tiny(tmp_path), r"out of memory with 16 images of 8 x 8 pixels at a time.*micro_batch.*auto_micro_batch=true"
    )


@pytest.mark.slow
def test_the_hosts_memory_is_told_apart(tmp_path, monkeypatch):
    message = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
    needs_memory(monkeypatch, 8, error=lambda _: RuntimeError(message))
    failed(tiny(tmp_path), r"out of memory with 16 images")


def test_fewer_images_at_a_time_are_the_trick_of_that_name_and_recorded(tmp_path, monkeypatch):
    wanted = execute(tiny(tmp_path / "one", tricks={"micro_batch": {"images": 4}}), Stopping(), "bot-train")
    needs_memory(monkeypatch, 4)
    settings, reporter = tiny(tmp_path / "two"), Stopping()
    settings.runtime.auto_micro_batch = True
    record = execute(settings, reporter, "bot-train")
    assert record.environment.micro_batches == ((0, 4),)
    assert record.metrics == wanted.metrics
    assert [note for note in reporter.notes if "so the result changes" in note]


@pytest.mark.slow
def test_the_images_at_a_time_are_kept_by_a_checkpoint(tmp_path, monkeypatch):
    needs_memory(monkeypatch, 4, after=9)

    def settings(store):
        made = tiny(store, runtime=RuntimeSettings(device="cpu", checkpoint_steps=3, auto_micro_batch=True))
        monkeypatch.setattr(c.Checkpoints, "due", lambda self, steps, **k: steps % 3 == 0 and steps > self.saved_step)
        return made

    whole = execute(settings(tmp_path / "one"), Stopping(), "bot-train")
    record, _ = stopped_and_continued(settings(tmp_path / "two"), 14)
    assert whole.environment.micro_batches == record.environment.micro_batches == ((9, 4),)
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.slow
def test_too_few_images_at_a_time_end_the_run(tmp_path, monkeypatch):
    needs_memory(monkeypatch, 1)
    settings = tiny(tmp_path)
    settings.runtime.auto_micro_batch = True
    failed(settings, "out of memory")


# --- disks ---


@pytest.mark.parametrize("where", ["write", "flush", "replace"])
@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output error")])
def test_a_checkpoint_that_cannot_be_written_fails_the_run_and_leaves_the_one_before(
    tmp_path, monkeypatch, where, number, said
):
    whole = execute(tiny(tmp_path / "one"), Stopping(), "bot-train")
    settings = tiny(tmp_path / "two", runtime=RuntimeSettings(device="cpu", checkpoint_steps=4))
    with pytest.raises(Interrupted):
        execute(settings, Stopping(5), "bot-train")
    before = {path: path.read_bytes() for path in files(tmp_path / "two")}

    names = {"write": (Path, "write_bytes"), "flush": (f, "flush"), "replace": (os, "replace")}
    intact = getattr(*names[where])

    def full(path, *args):
        if "checkpoints" in str(path):
            raise OSError(number, os.strerror(number))
        return intact(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(*names[where], full)
        failed(
            settings,
            rf"checkpoints: a checkpoint cannot be written \({said}.*then type the same command again to resume",
        )
    assert {path: path.read_bytes() for path in files(tmp_path / "two")} == before
    record = execute(settings, Stopping(), "bot-train")
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.csv", "weights.safetensors", "record.json"])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_a_failed_run_that_goes_on_later(tmp_path, monkeypatch, name, where):
    whole = execute(tiny(tmp_path / "one"), Stopping(), "bot-train")
    settings = tiny(tmp_path / "two")
    written = f.write_whole

    def full(path, write, *, before=None):
        if path.name != name:
            return written(path, write, before=before)
        with monkeypatch.context() as patch:
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            if where == "write":

                def write(_):
                    raise error
            else:

                def fail(*args):
                    raise error

                patch.setattr(f.os, where, fail)
            return written(path, write, before=before)

    with monkeypatch.context() as patch:
        for module in ("run.execute", "store.store"):
            patch.setattr(f"bagoftricks.{module}.write_whole", full)
        folder = failed(settings, rf"{name}: the disk is full: make room, then type the same command again to resume")
    assert not (folder / "record.json").exists()
    assert not list(folder.glob(".*"))
    record = execute(settings, Stopping(), "bot-train")
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full_is_said_and_the_run_goes_on_when_there_is_room(tmp_path, small_disk):
    """From no room at all, where not even the lease can be written, to enough for all of it."""
    whole = left_behind(tmp_path / "one", execute(tiny(tmp_path / "one"), Stopping(), "bot-train"))
    said, room = [], 0
    while len(said) < 100:
        store = small_disk / f"room{room}"
        settings = tiny(store, runtime=RuntimeSettings(device="cpu", checkpoint_steps=4))
        with pytest.raises(Interrupted):
            execute(settings, Stopping(5), "bot-train")
        filler = small_disk / "filler"
        with open(filler, "wb") as file:
            file.write(b"0" * (shutil.disk_usage(small_disk).free - room))
        try:
            execute(settings, Stopping(), "bot-train")
        except (TrainingFailed, OSError) as failure:
            said.append(str(explain(failure)))
        else:
            break
        finally:
            filler.unlink()
        record = execute(settings, Stopping(), "bot-train")
        assert same(left_behind(store, record), whole), said[-1]
        shutil.rmtree(store)
        room += 8192
    assert said[0] == "the disk is full: make room, then type the same command again"
    assert any("a checkpoint cannot be written (No space left" in line for line in said), said
    assert all("No space left" in line or "the disk is full: make room" in line for line in said), said


def test_a_failure_that_cannot_be_written_down_is_a_failure_all_the_same(tmp_path, monkeypatch):
    def full(path, write, *, before=None):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("bagoftricks.store.store.write_whole", full)
    store = Store(tmp_path)
    store.folder("run").mkdir()
    store.mark_failed("run", "it broke", "")
    assert store.state("run") is RunState.FAILED
    assert "could not be recorded" in store.failure("run")["error"]


def test_what_is_out_of_reach_is_one_line_of_every_command():
    error = PermissionError(errno.EACCES, "Permission denied", "/store/studies/s.json")
    assert explain(error) == "/store/studies/s.json: Permission denied: change that, then type the same command again"
    assert "Is a directory" in str(explain(IsADirectoryError(errno.EISDIR, "Is a directory", "/store/studies/s.json")))
    assert explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")) is None  # a mistake of ours


def test_a_failure_without_room_for_a_single_file_is_printed(tmp_path, capsys):
    (tmp_path / "file").touch()
    Store(tmp_path / "file").mark_failed("run", "it broke\nin detail", "")
    assert "failure.json cannot be written (Not a directory): the run failed: it broke\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["failure.json", "interrupted"])
def test_a_folder_in_the_place_of_a_mark_is_no_traceback(tmp_path, name):
    (tmp_path / "run" / name / "full").mkdir(parents=True)
    Store(tmp_path).clear_marks("run")
    assert not (tmp_path / "run" / name).exists()


# --- data ---


def test_a_folder_that_vanishes_is_never_skipped(tmp_path, photos):
    one, two = (streamed(tmp_path / name, photos, batch_size=4) for name in ("one", "two"))
    for settings in (one, two):
        settings.runtime.workers, settings.runtime.checkpoint_steps, settings.tricks = 0, 2, {}
    whole = execute(one, Stopping(), "bot-train")
    away = tmp_path / "away"

    class Vanishing(Stopping):
        def step(self):
            super().step()
            if self.steps == 3:
                time.sleep(0.3)  # for the checkpoint
                shutil.move(photos, away)

    failed(two, r"\.jpg has vanished since the run began", Vanishing(), DataError)
    assert files(tmp_path / "two")
    shutil.move(away, photos)
    reporter = Stopping()
    record = execute(two, reporter, "bot-train")
    assert reporter.began[0] in (2, 3)
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.slow
@pytest.mark.serial
def test_the_death_of_a_worker_is_said_and_nothing_is_lost(tmp_path, photos):
    one, two = (streamed(tmp_path / name, photos, batch_size=4) for name in ("one", "two"))
    for settings in (one, two):
        settings.runtime.workers, settings.runtime.checkpoint_steps = 1, 1
    whole = execute(one, Stopping(), "bot-train")

    class Killing(Stopping):
        def step(self):
            super().step()
            if self.steps == 3:
                time.sleep(0.3)
                for process in multiprocessing.active_children():
                    os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.3)

    failed(two, r"a process that prepares images died.*type the same command again to resume", Killing())
    record = execute(two, Stopping(), "bot-train")
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


# --- other processes ---


def test_a_process_that_lost_its_run_writes_no_checkpoint_no_metrics_and_no_mark(tmp_path, monkeypatch):
    settings = tiny(tmp_path, runtime=RuntimeSettings(device="cpu", checkpoint_steps=2))
    held = iter([True])  # while the run is described
    monkeypatch.setattr(FolderLease, "held", lambda self: next(held, False))
    with pytest.raises(RunElsewhere, match="was taken over"):
        execute(settings, Stopping(), "bot-train")
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["lease.json", "run.json"]


# --- determinism ---


def test_deterministic_algorithms_are_asked_for_while_the_run_lasts(tmp_path, monkeypatch):
    settings, step, seen = tiny(tmp_path, epochs=1), Trainer.step, []
    settings.runtime.deterministic = True

    def looked(self, batch):
        seen.append(torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic)
        return step(self, batch)

    monkeypatch.setattr(Trainer, "step", looked)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    execute(settings, Stopping(), "bot-train")
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_an_operation_without_a_deterministic_form_is_named():
    message = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"
    failure = expected_failure(RuntimeError(message), Settings())
    assert str(failure).startswith("runtime.deterministic=true: adaptive_avg_pool2d_backward_cuda has no deterministic")


def test_an_error_that_is_a_bug_is_not_an_expected_failure():
    assert expected_failure(KeyError("bug"), Settings()) is None
    assert expected_failure(RuntimeError("shape mismatch"), Settings()) is None


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bagoftricks.cli.train", "lr=1e30", "epochs=1", "model.depths=[1]", "model.width=4",
         "runtime.device=cpu", "runtime.progress=false", f"store={tmp_path}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "the training loss is" in done.stderr
