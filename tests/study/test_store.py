import pytest

from bagoftricks.errors import UserError
from bagoftricks.files import write_whole
from bagoftricks.study.store import Record, Store


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
