"""Corruptions that take no time, and a small run to evaluate on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bagoftricks.measure.speed import Timing
from bagoftricks.rng import Key
from bagoftricks.robustness import request as asked
from bagoftricks.run import corrupted_images as images
from bagoftricks.run.carry_out import carry_out
from bagoftricks.settings import CorruptionSettings, Settings, dataset_settings, network_settings

LEAST = {"glass_blur": 4}


def darker(image_batch, name, severity, indices, options):
    """Every image by an amount of its own, so that a wrong index shows."""
    key = Key(options.seed).fold("darker", name, severity)
    amount = torch.from_numpy(key.uniform(np.asarray(indices), 1)).float().view(-1, 1, 1, 1)
    return (image_batch * (1 - severity * amount / 6)).to(torch.uint8)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(images, "corrupt", darker)
    monkeypatch.setattr(asked, "smallest_side", lambda name, constants: LEAST.get(name, 1))
    monkeypatch.setattr(asked, "smallest_frame", lambda constants: 1)
    monkeypatch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **about: Timing(64, 1.0, 1.0, 1.0, 1))


class Said:
    """A reporter that remembers, and can be made to stop the evaluation."""

    def __init__(self, stop_after=None):
        self.notes, self.steps, self.stop_after, self.totals = [], 0, stop_after, []

    def note(self, text):
        self.notes.append(text)

    def begin(self, run_id, steps, done):
        self.totals.append(steps - done)
        self.steps = 0

    def step(self):
        self.steps += 1

    def epoch(self, row): ...

    def end(self): ...


def settings_of(folder, protocol="small_c", **changes):
    made = Settings(
        data=dataset_settings(limit=128, image_size=8, pad=1, flip=False, mean=[78.0] * 3, std=[96.0] * 3),
        model=network_settings(depths=[1], width=4),
        epochs=1,
        batch_size=64,
        lr=0.05,
        store=str(folder / "store"),
        corruptions=CorruptionSettings(protocol=protocol, limit=12 if protocol != "none" else None),
    )
    made.runtime.device, made.runtime.eval_batch_size = "cpu", 4
    return replace(made, **changes)


@pytest.fixture
def settings(tmp_path):
    return lambda protocol="small_c", **changes: settings_of(tmp_path, protocol, **changes)


@pytest.fixture
def evaluate(settings):
    """The record of the run after the evaluation."""

    def carry(reporter=None, protocol="small_c", data=None, **changes):
        wanted = settings(protocol, **{k: v for k, v in changes.items() if k in ("tricks", "rerun", "seed")})
        beside = {k: v for k, v in changes.items() if k not in ("tricks", "rerun", "seed", "batch")}
        if beside:
            wanted = replace(wanted, corruptions=replace(wanted.corruptions, **beside))
        wanted.runtime.eval_batch_size = changes.get("batch", 4)
        return carry_out(wanted, reporter or Said(), "bot-train", data)

    return carry
