import json
import os
import pickle
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.models.weights import read_tensors
from bagoftricks.run.teacher import find_teacher
from bagoftricks.settings import Settings
from bagoftricks.store.files import remove_temporaries, write_whole
from bagoftricks.store.store import Record, Store


def record(**changes):
    empty = {"tricks": {}, "data": {}, "model": {}, "metrics": {}, "cost": {}, "environment": {}, "config": {}}
    return Record(**{"id": "abc", "status": "done", "seed": 0, "epochs": 1, "command": "", **empty, **changes})


def test_a_record_comes_back_as_it_was_written(tmp_path):
    store = Store(tmp_path)
    written = record(metrics={"top1": 12.5}, tricks={"mixup": {"alpha": 0.2}})
    store.write_record(written)
    assert store.record("abc") == written
    assert list(store.records()) == [written]
    assert store.record("other") is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda p: p.write_text("old"))

    def fail(p):
        p.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_a_record_is_no_finished_run(tmp_path):
    store = Store(tmp_path)
    store.write_metrics("abc", [{"epoch": 1, "top1": 5.0}])
    assert store.record("abc") is None
    assert list(store.records()) == []


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        Store(tmp_path / "file").writable()


@pytest.mark.parametrize("name", ["../other", "a/b", "/etc", "", ".", "..", ".hidden", "a\0b", "ü"])
def test_names_that_lead_out_of_the_store_are_refused(tmp_path, name):
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="is no run id"):
        store.record(name)
    with pytest.raises(UserError, match="is no name of a copy"):
        store.weights("abc", name)


@pytest.mark.parametrize("changes", [{"id": "../evil"}, {"metrics": {"copies": {"../../x": {"top1": 1.0}}}}])
def test_a_record_whose_names_lead_out_of_the_store_is_damaged(tmp_path, changes):
    store = Store(tmp_path)
    made = {**asdict(record()), **changes}
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc/record.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="is not a record"):
        store.record("abc")
    assert list(store.records()) == []
    assert len(store.damaged) == 1


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def test_a_malicious_pickle_is_no_record_no_weights_and_no_teacher(tmp_path):
    evil = pickle.dumps(Malicious(str(tmp_path / "executed")))
    store = Store(tmp_path / "store")
    (store.root / "abc").mkdir(parents=True)
    (store.root / "abc/record.json").write_bytes(evil)
    with pytest.raises(UserError, match="is not a record"):
        store.record("abc")
    for name in ("weights.safetensors", "weights.pth"):
        (store.root / name).write_bytes(evil)
        with pytest.raises(UserError, match="damaged"):
            read_tensors(store.root / name)
    store.write_record(record(config=asdict(Settings()), data={"classes": 10, "digest": "d"}))
    store.weights("abc").write_bytes(evil)
    with pytest.raises(UserError):
        find_teacher("run:abc", store, 10)
    assert not (tmp_path / "executed").exists()
    pickle.loads(evil)
    assert (tmp_path / "executed").exists()  # it would have run


@given(st.binary(max_size=200))
def test_no_bytes_but_a_record_are_a_record(tmp_path_factory, data):
    store = Store(tmp_path_factory.mktemp("store"))
    store.write_record(record())
    path = store.folder("abc") / "record.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + data)
    with pytest.raises(UserError):
        store.record("abc")


def test_what_writers_that_were_killed_left_behind_is_removed(tmp_path):
    (tmp_path / ".record.json.0123.tmp").write_text("half")
    (tmp_path / "record.json").write_text("whole")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
