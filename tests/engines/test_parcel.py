"""Files of a run that was trained elsewhere, on their way into the store."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bagoftricks.engines.parcel import deliver, pack, unpack
from bagoftricks.errors import RunElsewhere
from bagoftricks.run.execute import recorded
from bagoftricks.store import files
from bagoftricks.store.lease import LEASE
from bagoftricks.store.store import FAILURE, LOG, RECORD, WEIGHTS, Store
from tests.engines.test_local import planned
from tests.study.locked import record_of


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path, "0.05")[0]


@pytest.fixture
def made(run, tmp_path):
    """The files of the run, in a store of another machine with another name."""
    settings = replace(run.settings, store=str(tmp_path / "there"))
    there = Store(settings.store)
    there.write_record(replace(record_of(run, 50.0), config=recorded(settings)))
    (there.folder(run.id) / WEIGHTS).write_bytes(b"weights")
    (there.folder(run.id) / LOG).write_bytes(b"new lines\n")
    return there.folder(run.id)


def test_a_record_that_arrives_has_the_settings_of_the_study(run, made):
    store = Store(run.settings.store)
    with store.claim(run.id) as lease:
        deliver(pack(made), run, store, lease)
    assert store.record(run.id).config == recorded(run.settings)
    assert store.weights(run.id).read_bytes() == b"weights"


def test_the_record_is_the_last_file_to_arrive(run, made, monkeypatch):
    order, replace_file = [], files.os.replace

    def note(source, path):
        order.append(Path(path).name)
        replace_file(source, path)

    monkeypatch.setattr(files.os, "replace", note)
    store = Store(run.settings.store)
    with store.claim(run.id) as lease:
        deliver(pack(made), run, store, lease)
    assert order == [WEIGHTS, RECORD]


def test_a_log_goes_on_below_that_of_earlier_jobs(run, made):
    store = Store(run.settings.store)
    with store.claim(run.id) as lease:
        (store.folder(run.id) / LOG).write_text("old lines\n")
        deliver(pack(made), run, store, lease)
    assert (store.folder(run.id) / LOG).read_text() == "old lines\nnew lines\n"


def test_nothing_is_written_for_a_run_that_another_process_has_taken_over(run, made):
    store = Store(run.settings.store)
    with store.claim(run.id) as lease:
        path = store.folder(run.id) / LEASE
        path.write_text(json.dumps({**json.loads(path.read_text()), "token": "another"}))
        with pytest.raises(RunElsewhere):
            deliver(pack(made), run, store, lease)
    assert store.record(run.id) is None
    assert not store.weights(run.id).exists()


def test_marks_leases_and_unfinished_files_stay_where_they_are(tmp_path):
    for name in (FAILURE, LEASE, f".{WEIGHTS}.0.tmp", "checkpoints/1"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    assert pack(tmp_path) == {"checkpoints/1": b"1"}


@pytest.mark.parametrize("name", ["../record.json", "/etc/passwd", "a/../../b", ""])
def test_no_file_is_written_outside_of_the_folder_of_the_run(tmp_path, name):
    with pytest.raises(ValueError, match="leads out"):
        unpack({name: b""}, tmp_path / "run")
    assert not list(tmp_path.iterdir())
