"""What holds of whole runs, whatever the tricks."""

import pytest
import torch
from safetensors.torch import load_file

from bagoftricks.settings import ModelSettings, Settings
from bagoftricks.study.lease import Lease
from bagoftricks.study.outcomes import RunElsewhere
from bagoftricks.study.run import execute
from bagoftricks.study.store import WEIGHTS, Store


class Quiet:
    """A reporter that says nothing."""

    def note(self, text): ...

    def begin(self, run_id, steps, done): ...

    def step(self): ...

    def epoch(self, row): ...

    def end(self): ...


@pytest.fixture
def run(tmp_path):
    def train(name="store", *, tricks=None, **changes):
        chosen = {trick: {} for trick in tricks or ()}
        settings = Settings(
            tricks=chosen, model=ModelSettings(depths=[1, 1], width=4), epochs=1, batch_size=64, lr=0.05,
            store=str(tmp_path / name), **changes,
        )  # fmt: skip
        settings.data.image_size, settings.data.pad = 8, 1
        record = execute(settings, Quiet(), "bot-train")
        return record, load_file(Store(settings.store).folder(record.id) / WEIGHTS)

    return train


def test_the_same_settings_give_the_same_weights_bit_for_bit(run):
    (a, first), (b, second) = run("one"), run("two")
    assert a.id == b.id
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(run):
    (_, first), (_, second) = run(), run(seed=1)
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_skipped_evaluations_change_no_weight(run):
    settings = Settings().runtime
    settings.eval_every = 5
    (a, first), (b, second) = run("one"), run("two", runtime=settings)
    assert a.metrics == b.metrics
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(run, monkeypatch):
    record, _ = run()
    look = iter([None])  # the first look sees nothing, the one after the claim sees the record
    stored = Store.record
    monkeypatch.setattr(Store, "record", lambda self, name: next(look, stored(self, name)))
    monkeypatch.setattr("bagoftricks.study.run.train_and_measure", lambda *args: pytest.fail("trained again"))
    again, _ = run()
    assert again == record


def test_a_run_that_was_taken_over_writes_no_record(run, monkeypatch, tmp_path):
    monkeypatch.setattr(Lease, "held", lambda self: False)
    with pytest.raises(RunElsewhere, match="was taken over"):
        run()
    assert list((tmp_path / "store").glob("*/record.json")) == []
