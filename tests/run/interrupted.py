"""Tiny runs that can be stopped anywhere, and what they leave behind."""

import csv
import os
import signal
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from bagoftricks.errors import Interrupted
from bagoftricks.run.execute import execute
from bagoftricks.settings import RuntimeSettings, Settings, dataset_settings, network_settings
from bagoftricks.store.checkpoint_header import FOLDER
from bagoftricks.store.store import CORRECT, Store

MEASURED = {
    "train_images_per_s",
    "infer_images_per_s",
    "infer_spread",
    "train_seconds",
    "epoch_seconds",
    "wall_seconds",
}
MEASURED |= {"teacher_seconds", "peak_memory_mib", "latency_ms", "measured_by", "curve", "warmup_seconds"}
MOST = ["resnet_d", "ghost_norm", "mixed_precision", "micro_batch", "mixup", "label_smoothing", "ema", "swa", "cosine"]


FITTING = {
    "ghost_norm": {"splits": 4},
    "micro_batch": {"images": 8},
    "swa": {"start": "3 steps", "every": "4 steps"},
}  # eleven steps of 16 images


class Stopping:
    """A reporter that sends a signal after some steps of the process, or in the evaluation after some rows."""

    def __init__(self, after=None, *, number=signal.SIGTERM, times=1):
        self.after, self.number, self.times, self.steps, self.notes, self.began = after, number, times, 0, [], []

    def note(self, text):
        self.notes.append(text)

    def begin(self, run_id, steps, done):
        self.began.append(done)

    def step(self):
        self.steps += 1
        if self.steps == self.after:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)

    def epoch(self, row): ...

    def end(self): ...


def tiny(store, *, tricks=(), epochs=2, runtime=None, **changes):
    """Eleven steps an epoch, and two epochs."""
    chosen = {name: dict(params) for name, params in (tricks.items() if isinstance(tricks, dict) else ())}
    chosen |= {name: {} for name in tricks if name not in chosen}
    for name, params in FITTING.items():
        if name in chosen:
            chosen[name] = {**params, **chosen[name]}
    made = Settings(
        tricks=chosen, model=network_settings(depths=[1, 1], width=4), epochs=epochs, lr=0.05, store=str(store),
        runtime=runtime or RuntimeSettings(device="cpu"), **{"batch_size": 16, **changes},
    )  # fmt: skip
    if made.data.name == "digits":
        made.data.image_size, made.data.pad, made.data.limit = 8, 1, 180
    return made


def left_behind(store, record):
    """What a run leaves, but for the clock and the machine."""
    folder = Store(store).folder(record.id)
    weights = {p.name: load_file(p) for p in sorted(folder.glob("*weights.safetensors"))}
    with open(folder / "metrics.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(file)]
    assert not (folder / FOLDER).exists()
    cost = {k: v for k, v in asdict(record.cost).items() if k not in MEASURED}
    facts = [record.id, record.tricks, record.data, record.model, record.metrics, cost, record.command]
    return [*facts, (folder / CORRECT).read_bytes()], rows, weights


def same(one, other):
    (facts, rows, weights), (facts2, rows2, weights2) = one, other
    assert facts == facts2
    assert rows == rows2
    assert weights.keys() == weights2.keys()
    for file, tensors in weights.items():
        assert all(torch.equal(tensor, weights2[file][name]) for name, tensor in tensors.items())
    return True


def stopped_and_continued(settings, *stops):
    """Stop the run after so many steps of each process in turn; the record of the last process, and what it told."""
    for after in stops:
        with pytest.raises(Interrupted):
            execute(settings, Stopping(after), "bot-train")
    last = Stopping()
    return execute(settings, last, "bot-train"), last


def streamed(store, photos, **changes):
    data = dataset_settings(name="imagefolder", root=str(photos), image_size=72, on_error="skip")
    runtime = RuntimeSettings(device="cpu", workers=2)
    return tiny(store, data=data, runtime=runtime, tricks=["mixup", "swa", "resnet_d"], **changes)


def files(store):
    return sorted(store.glob(f"*/{FOLDER}/*"))
