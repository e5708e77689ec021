"""Worker processes with little shared memory, and those that die."""

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.decode import decode
from bagoftricks.data.decode_part import decode_part
from bagoftricks.data.handover import SharedSteps, describe_death, is_dead_worker, shared_memory_note
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.robustness.stored import stored_batches
from bagoftricks.settings import dataset_settings

MIB = 2**20


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i in range(6):
        Image.new("RGB", (80 + i, 80), (40 * i, 9, 9)).save(folder / f"{i}.png")
    return FileSplit(np.array([str(folder / f"{i}.png") for i in range(6)]), np.arange(6))


def small_shared_memory(monkeypatch, free):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))


def stream(files, workers):
    finish = Finish(dataset_settings(), 6, torch.device("cpu"), channels_last=True)
    preparation = Preparation(StepPlan(6, 3), Augment(72, None), finish)
    return StreamLoader(files, preparation, Reading(workers=workers, on_error="fail"))


@pytest.mark.parametrize(("free", "workers"), [(64 * 1024, 0), (MIB + 4096, 2), (64 * MIB, 2)])
def test_batches_are_the_same_however_little_shared_memory_there_is(files, monkeypatch, free, workers):
    expected = [batch.images for batch in stream(files, 0).epoch(0)]
    small_shared_memory(monkeypatch, free)
    loader = stream(files, 2)
    assert loader.prepared.num_workers == workers
    seen = [batch.images for batch in loader.epoch(0)]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    step = next(iter(loader.prepared))
    assert step.images.is_shared() == (free == 64 * MIB)
    stored = torch.cat(list(stored_batches(files, np.arange(6), 72, 4, 2)))
    assert stored[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160, 200]


def test_steps_are_made_in_memory_that_comes_round_again_once_they_are_used(files):
    rows = FileSplit(np.tile(files.paths, 4), np.tile(files.labels, 4))
    finish = Finish(dataset_settings(mean=[0.0] * 3, std=[1.0] * 3), 6, torch.device("cpu"), channels_last=True)
    preparation = Preparation(StepPlan(23, 3), Augment(72, None), finish)
    alone, made = (StreamLoader(rows, preparation, Reading(workers=workers, on_error="fail")) for workers in (0, 1))
    for epoch in range(3):
        batches = [[batch.images for batch in loader.epoch(epoch)] for loader in (alone, made)]
        assert len(batches[0]) == 8
        assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
    steps = [step.images for step in made.prepared]  # kept, against the rule
    assert [torch.equal(steps[0], steps[i]) for i in (1, 2, 3, 6)] == [False, False, True, True]


def test_memory_of_a_step_grows_with_the_largest():
    kept, images = SharedSteps(), [torch.full((2, 2, 3), i, dtype=torch.uint8) for i in range(4)]
    made = [kept.stack(images[: 1 + i % 4]) for i in range(7)]
    assert [len(step) for step in made] == [1, 2, 3, 4, 1, 2, 3]
    assert all(step.is_shared() for step in made)
    assert torch.equal(made[6], torch.stack(images[:3]))
    places = [step.data_ptr() for step in made]
    assert len(set(places[3:6])) == 3
    assert places[3] == places[6]


@pytest.mark.parametrize(("free", "how"), [(64 * 1024, "read by the run itself"), (2 * MIB, "sent through pipes")])
def test_little_shared_memory_is_said_with_the_way_out(monkeypatch, free, how):
    small_shared_memory(monkeypatch, free)
    note = shared_memory_note(2, 256 * 224**2)
    assert re.search(rf"shared memory is small .*{free / MIB:.1f} MiB free, 2 workers may need 222\).*{how}", note)
    assert "--shm-size" in note
    assert shared_memory_note(0, 256 * 224**2) is None
    small_shared_memory(monkeypatch, 2**34)
    assert shared_memory_note(8, 256 * 224**2) is None


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "Segmentation fault"), (signal.SIGKILL, "Killed")])
def test_a_worker_that_dies_is_reported_with_its_signal_and_its_file(files, monkeypatch, number, name):
    def dying(read):
        def dies(file, *wanted):
            if Path(file.path).name == "4.png":
                os.kill(os.getpid(), number)
            return read(file, *wanted)

        return dies

    monkeypatch.setattr("bagoftricks.data.sources.decode", dying(decode))
    monkeypatch.setattr("bagoftricks.data.sources.decode_part", dying(decode_part))
    for read in (lambda: list(stream(files, 2).epoch(0)), lambda: list(stored_batches(files, np.arange(6), 72, 3, 2))):
        with pytest.raises(RuntimeError, match="DataLoader worker") as caught:
            read()
        assert is_dead_worker(caught.value)
        assert re.fullmatch(
            rf"a process that prepares images died \({name}\) while it read \S*/4\.png", describe_death(caught.value)
        )


def test_a_death_is_told_where_the_signal_handler_raised_it():
    def fetch():
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...")
        finally:
            raise ValueError("semaphore or lock released too many times")

    with pytest.raises(ValueError, match="semaphore") as caught:
        fetch()
    assert is_dead_worker(caught.value)
    assert describe_death(caught.value) == "a process that prepares images died (Bus error)"
    assert not is_dead_worker(ValueError("semaphore or lock released too many times"))
