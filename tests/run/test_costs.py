"""Costs of predictions are measured once for an arm on a machine, and again where anything is another."""

from dataclasses import replace

import pytest

from bagoftricks.measure.speed import Timing
from bagoftricks.run import costs
from bagoftricks.run.costs import MOST_OF_ONE, MOST_SECONDS, time_predictions
from bagoftricks.run.execute import execute
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings, network_settings
from bagoftricks.store.store import RECORD, Store
from tests.helpers import rewrite_record

OF_PREDICTIONS = ("macs", "infer_images_per_s", "infer_spread", "latency_ms")


@pytest.fixture
def timings(monkeypatch, tmp_path):
    """Numbers in the place of timings, another one each time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []

    def time_inference(*given, **named):
        made.append(named)
        return Timing(64, float(len(made)), 1.0, 1.0, 5)

    monkeypatch.setattr(costs, "time_inference", time_inference)
    return made


@pytest.fixture
def train(tmp_path, timings):
    def train(seed, store="store", **changes):
        settings = Settings(
            model=network_settings(depths=[1, 1], width=4), epochs=1, batch_size=64, lr=0.05, seed=seed,
            store=str(tmp_path / store), tricks=changes.pop("tricks", {}), rerun=changes.pop("rerun", False),
        )  # fmt: skip
        settings.data.image_size, settings.data.pad, settings.runtime.device = 8, 1, "cpu"
        settings.runtime = replace(settings.runtime, **changes)
        return execute(settings, SilentReporter(), "bot-train")

    return train


def predictions(record):
    return [getattr(record.cost, name) for name in OF_PREDICTIONS]


def test_another_seed_takes_the_costs_of_predictions_over(train, timings):
    first, second, third = train(0), train(1), train(2)
    assert len(timings) == 2
    assert predictions(first) == predictions(second) == predictions(third)
    assert [record.cost.measured_by for record in (first, second, third)] == [None, first.id, first.id]
    assert first.cost.train_seconds != second.cost.train_seconds


def test_rerun_measures_again_and_the_next_seed_takes_that(train, timings):
    first, again = train(0), train(1, rerun=True)
    assert again.cost.measured_by is None
    assert predictions(again) != predictions(first)
    assert train(2).cost.measured_by == again.id


@pytest.mark.parametrize("change", [{"tricks": {"zero_gamma": {}}}, {"channels_last": False}])
def test_another_arm_or_memory_format_is_measured_for_itself(train, change):
    train(0)
    assert train(1, **change).cost.measured_by is None


def test_another_store_is_measured_for_itself(train):
    train(0)
    assert train(1, store="other").cost.measured_by is None


@pytest.mark.parametrize("change", [{"threads": 77}, {"host": "elsewhere"}, {"torch": "1.0"}, {"git_revision": "abc"}])
def test_another_machine_or_version_is_measured_for_itself(train, monkeypatch, change):
    train(0)
    real = costs.environment
    monkeypatch.setattr(costs, "environment", lambda *given: replace(real(*given), **change))
    assert train(1).cost.measured_by is None


def test_a_measurement_whose_record_is_gone_or_damaged_is_made_again(train, tmp_path):
    first = train(0)
    (Store(tmp_path / "store").folder(first.id) / RECORD).write_text("{")
    second = train(1)
    assert second.cost.measured_by is None
    (Store(tmp_path / "store").folder(second.id) / RECORD).unlink()
    assert train(2).cost.measured_by is None


@pytest.mark.parametrize("name", [b"../elsewhere", b"0" * 20, b"\xff", b""])
def test_a_damaged_note_of_who_measured_is_measured_again(train, tmp_path, name):
    first = train(0)
    (note,) = (tmp_path / "cache/bagoftricks/costs").iterdir()
    note.write_bytes(name)
    assert train(1).cost.measured_by is None
    assert first.cost.measured_by is None


def test_the_record_decides_and_not_the_name_of_the_note(train, tmp_path):
    first = train(0)
    rewrite_record(Store(tmp_path / "store").folder(first.id), lambda values: values["model"].update(width=8))
    assert train(1).cost.measured_by is None


def test_a_record_of_another_machine_is_not_taken_over_though_the_note_names_it(train, tmp_path):
    first = train(0)
    folder = Store(tmp_path / "store").folder(first.id)
    rewrite_record(folder, lambda values: values["environment"].update(host="elsewhere"))
    assert train(1).cost.measured_by is None


def test_what_was_taken_over_is_not_taken_over_again(train, tmp_path):
    first, second = train(0), train(1)
    (note,) = (tmp_path / "cache/bagoftricks/costs").iterdir()
    assert note.read_text() == first.id
    note.write_text(second.id)
    assert train(2).cost.measured_by is None


@pytest.mark.parametrize(("seconds", "wanted"), [(1.0, [0.0075, 0.0025]), (1e6, [MOST_SECONDS, MOST_OF_ONE])])
def test_timing_takes_a_small_share_of_the_training(timings, seconds, wanted, monkeypatch):
    monkeypatch.setattr(costs, "count_macs", lambda *given: 1)
    monkeypatch.setattr(costs, "test_pixels", lambda *given: 8)

    class Anything:
        def __getattr__(self, name):
            return self

    time_predictions(Anything(), Anything(), seconds)
    assert [named["budget_s"] for named in timings] == pytest.approx(wanted)
