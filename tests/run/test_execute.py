"""What holds of whole runs, whatever the tricks."""

import pytest
import torch
from safetensors.torch import load_file

from bagoftricks.errors import RunElsewhere
from bagoftricks.run import check as check_module
from bagoftricks.run import execute as run_module
from bagoftricks.run import start as start_module
from bagoftricks.run.execute import execute
from bagoftricks.settings import Settings, dataset_settings, network_settings
from bagoftricks.store.lease import FolderLease
from bagoftricks.store.store import WEIGHTS, Store
from bagoftricks.training.trainer import Trainer


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
            tricks=chosen, model=network_settings(depths=[1, 1], width=4), epochs=1, batch_size=64, lr=0.05,
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


def test_skipped_images_are_counted_where_the_user_sees_it(photos, tmp_path, untimed, monkeypatch):
    notes = []
    monkeypatch.setattr(Quiet, "note", lambda self, text: notes.append(text))
    data = dataset_settings(name="imagefolder", root=str(photos), image_size=8, on_error="skip")
    network = network_settings(depths=[1, 1], width=4)
    settings = Settings(data=data, model=network, epochs=1, batch_size=8, store=str(tmp_path / "store"))
    settings.runtime.workers = 0
    record = execute(settings, Quiet(), "bot-train")
    assert len(record.data.skipped) == 1
    assert notes[-1].startswith("warning: skipped 1 images, which the record names: ")
    assert notes[-1].endswith("PPM and WebP)")


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(run, monkeypatch):
    record, _ = run()
    look = iter([None])  # the first look sees nothing, the one after the claim sees the record
    stored = Store.record
    monkeypatch.setattr(Store, "record", lambda self, name: next(look, stored(self, name)))
    monkeypatch.setattr("bagoftricks.run.execute.Run.train", lambda *args: pytest.fail("trained again"))
    again, _ = run()
    assert again == record


def test_a_run_that_was_taken_over_writes_no_record(run, monkeypatch, tmp_path):
    monkeypatch.setattr(FolderLease, "held", lambda self: False)
    with pytest.raises(RunElsewhere, match="was taken over"):
        run()
    assert list((tmp_path / "store").glob("*/record.json")) == []


def test_a_warm_up_changes_no_weight_and_its_time_is_stated_apart(run):
    settings = Settings().runtime
    settings.warmup_steps = 3
    (a, first), (b, second) = run("one", tricks=["mixup"]), run("two", tricks=["mixup"], runtime=settings)
    assert a.id == b.id
    assert a.metrics == b.metrics
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert a.cost.warmup_seconds is None
    assert b.cost.warmup_seconds > 0


def test_a_warm_up_sees_all_phases_of_the_run(run, monkeypatch):
    seen = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, batch: (seen.append(self.steps_done), step(self, batch))[1])
    settings = Settings().runtime
    settings.warmup_steps = 4
    run(runtime=settings)
    total = len(seen) - 4
    assert seen == [0, total // 4, total // 2, 3 * total // 4, *range(total)]


def test_what_is_made_of_images_before_the_first_step_belongs_to_the_training_time(run, monkeypatch):
    plain = run_module.make_trainer

    def slow(*args, **kwargs):
        trainer = plain(*args, **kwargs)
        trainer.setup_seconds += 1000.0
        return trainer

    monkeypatch.setattr(run_module, "make_trainer", slow)
    record, _ = run(tricks=["patch_whitening"])
    assert record.cost.train_seconds > 1000
    assert record.cost.curve[0].train_seconds > 1000


def test_the_record_keeps_the_learning_curve_and_the_latency(run):
    record, _ = run(tricks=["ema"])
    curve = record.cost.curve
    assert [(point.epoch, point.weights) for point in curve] == [(1, "last"), (1, "ema")]
    assert curve[0].score == record.metrics["last"].top1
    assert curve[1].score == record.metrics["ema"].top1
    assert record.cost.latency_ms > 0


def test_a_run_composes_twice_and_builds_one_network_besides_the_trained_one(run, monkeypatch):
    composed, built = [], []
    for module, name, calls in (
        (check_module, "compose", composed),
        (check_module, "build_model", built),
        (start_module, "build_model", built),
    ):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, _original=original, _calls=calls, **k: (_calls.append(a), _original(*a, **k))[1]
        )
    run(tricks=["resnet_d", "mixup", "ema", "warmup"])
    assert len(composed) == 2
    assert len(built) == 2
