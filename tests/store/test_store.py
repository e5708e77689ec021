import hashlib
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
from bagoftricks.store.json_fields import from_json, sealed_text, to_json
from bagoftricks.store.record import RECORD_FORMAT, Record
from bagoftricks.store.store import Store

SCORES = {"top1": 0.0, "top5": 0.0, "loss": 0.0}
COST = {
    "params": 1, "macs": 1, "train_images_per_s": 1.0, "infer_images_per_s": 1.0, "infer_spread": 0.1,
    "latency_ms": 1.0, "peak_memory_mib": 1.0, "train_seconds": 1.0, "wall_seconds": 1.0,
}  # fmt: skip
DATA = {"name": "digits", "train_images": 8, "val_images": 2, "classes": 10, "digest": "d"}
VERSIONS = dict.fromkeys(("device", "python", "bagoftricks", "torch", "torchvision", "numpy"), "1")


def record(*, metrics=None, cost=None, data=None, environment=None, **changes):
    """A record with these values, and others for the fields that it needs; ``metrics`` by weight set or of the last."""
    metrics = metrics if metrics and "last" in metrics else {"last": metrics or {}}
    facts = {"id": "abc", "status": "done", "seed": 0, "epochs": 1, "command": "", "tricks": {}, "config": {}}
    values = {
        **facts,
        "model": {"name": "resnet"},
        "metrics": {name: {**SCORES, **scores} for name, scores in metrics.items()},
        "cost": {**COST, **(cost or {})},
        "data": {**DATA, **(data or {})},
        "environment": {**VERSIONS, "cores": 1, "threads": 1, **(environment or {})},
        **changes,
    }
    return from_json(Record, values)


def robustness(scores, **changes):
    """A result of corruptions as a record has it, with these scores of the last weights."""
    about = {
        "protocol": "small_c", "corruptions": 2, "normaliser": "none", "image_size": 8, "limit": None, "count": 10,
        "images": "generated", "seed": 0, "frost": "generated", "constants": "cifar", "data_digest": "d",
        "seconds": {"total": 1.0},
        "environment": {"device": "here", "threads": 1, "torch": "2", "torchvision": "0", "bagoftricks": "0"},
    }  # fmt: skip
    return {**about, "weights": {"last": scores}, **changes}


def test_a_record_comes_back_as_it_was_written(tmp_path):
    store = Store(tmp_path)
    written = record(metrics={"top1": 12.5}, tricks={"mixup": {"alpha": 0.2}})
    store.write_record(written)
    assert store.record("abc") == written
    assert list(store.records()) == [written]
    assert store.record("other") is None


def test_newer_and_damaged_records_are_left_out_by_name(tmp_path):
    store = Store(tmp_path)
    for name in ("damaged", "newer", "whole"):
        store.write_record(record(id=name))
    (tmp_path / "damaged/record.json").write_text("{")
    (tmp_path / "newer/record.json").write_text(json.dumps({"format": RECORD_FORMAT + 1}))
    assert [found.id for found in store.records()] == ["whole"]
    damaged, newer = store.damaged
    assert "damaged/record.json is not a record" in damaged
    assert "newer/record.json was written by a newer version of bagoftricks: upgrade" in newer


def test_the_digests_are_of_the_metrics_the_weights_and_the_images_that_were_right(tmp_path):
    store = Store(tmp_path)
    for name in ("metrics.csv", "weights.safetensors", "ema.weights.safetensors", "correct.safetensors", "log.txt"):
        write_whole(store.folder("abc") / name, lambda path, name=name: path.write_text(name))
    names = ["correct.safetensors", "ema.weights.safetensors", "metrics.csv", "weights.safetensors"]
    assert store.digests("abc") == {name: hashlib.sha256(name.encode()).hexdigest() for name in names}


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
    with pytest.raises(UserError, match="is no name of a weight set"):
        store.weights("abc", name)


@pytest.mark.parametrize("changes", [{"id": "../evil"}, {"metrics": {"last": SCORES, "../../x": SCORES}}])
def test_a_record_whose_names_lead_out_of_the_store_is_damaged(tmp_path, changes):
    store = Store(tmp_path)
    made = {**to_json(record()), **changes}
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc/record.json").write_text(sealed_text(made))
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
