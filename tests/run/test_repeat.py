"""The settings of a repetition, and the comparison with its run."""

from dataclasses import asdict, replace

import pytest

from bagoftricks.report.repetition import compare_repetition, identity_note, verdict
from bagoftricks.run.repeat import repetition_settings
from bagoftricks.settings import Settings
from bagoftricks.store.store import Store
from tests.store.test_store import record

WEIGHTS = {"weights.safetensors": "1" * 64}


def test_a_teacher_is_named_by_its_file_and_nothing_else_is_left_of_the_store(tmp_path):
    store = Store(tmp_path / "store")
    store.write_record(record(id="teacher"))
    store.weights("teacher").write_bytes(b"w")
    settings = Settings(store=str(store.root), rerun=True, tricks={"distill": {"teacher": "run:teach"}})
    made = record(config=asdict(settings), environment={"threads": 3})
    found = repetition_settings(made, store, "elsewhere")
    assert found.tricks["distill"]["teacher"] == f"file:{store.weights('teacher')}"
    assert (found.store, found.rerun, found.runtime.threads) == ("elsewhere", False, "3")
    assert settings.tricks["distill"]["teacher"] == "run:teach"


def test_a_run_that_went_on_from_another_is_repeated_as_a_whole(tmp_path):
    made = record(config=asdict(Settings(extend="abcd", epochs=9)))
    assert repetition_settings(made, Store(tmp_path), "elsewhere").extend is None


def test_equal_weights_are_identical_whatever_the_machine():
    ours, theirs = record(files=WEIGHTS), record(files=WEIGHTS, environment={"torch": "2", "host": "there"})
    assert verdict(compare_repetition(ours, theirs)) == "identical: the weights are those of run abc, bit for bit"


@pytest.mark.parametrize(
    ("top1", "said"),
    [(0.0, "equal metrics, other weights: top1 [last] +0"), (1.5, "not identical: top1 [last] +1.5")],
)
def test_other_weights_have_the_differences_and_what_may_cause_them(top1, said):
    theirs = record(files={"weights.safetensors": "2" * 64}, metrics={"top1": top1}, environment={"torch": "2"})
    found = verdict(compare_repetition(record(files=WEIGHTS), theirs))
    assert found.startswith(said)
    assert found.endswith("torch 1 there, 2 here")


def test_records_without_digests_are_not_called_identical():
    assert not compare_repetition(record(), record()).identical


def test_another_id_has_a_reason():
    ours = record()
    assert identity_note(ours, ours) is None
    assert identity_note(ours, record(id="x", data={"digest": "other"})).endswith("its data differ (by their digest)")
    assert identity_note(ours, replace(ours, id="x")).endswith("its settings mean something else here")
