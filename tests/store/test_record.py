import errno
import json
import os
import stat
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import DamagedRecord, UserError
from bagoftricks.report.robustness import error_report, robustness_notes, score_keys
from bagoftricks.report.study_robustness import robustness as robustness_value
from bagoftricks.report.styles import with_notes
from bagoftricks.report.table import record_rows, render, run_columns
from bagoftricks.store.files import note_once, weights_writer, write_whole
from bagoftricks.store.json_fields import SEAL, sealed_text, to_json
from bagoftricks.store.record import (
    RECORD_FORMAT,
    CurvePoint,
    Quartiles,
    Scores,
    data_settings_of,
    quartiles,
    read_record,
    record_text,
    scores_of,
    settings_of,
)
from bagoftricks.store.store import Store, require_intact
from tests.store.test_store import record, robustness

OLD = {path.stem: path for path in (Path(__file__).parent / "records").glob("*.json")}
CORRUPTED = {
    "mce": 1.0,
    "relative_mce": 2.0,
    "clean_error": 3.0,
    "errors": {"fog": [1.0] * 5, "snow": [3.0, 4.0, 5.0, 6.0, 7.0]},
}
PERTURBED = {"mfr": 1.0, "clean_error": 3.0, "flips": {"tilt": 1.0}}
TEACHER = {"source": "file:a", "digest": "d", "run": None}


def full():
    """A record with every optional field."""
    last = {"epoch": 1, "steps": 5, "weights": "last", "train_seconds": 1.0, "score": 50.0}
    return record(
        metrics={"last": {"ece": 2.0}, "ema": {"top1": 1.5}},
        cost={"curve": [last], "warmup_seconds": 1.0, "teacher_params": 3},
        data={"class_names": ["cat", "dog"], "class_counts": [3, 5], "teacher": TEACHER, "skipped": ["a.png"]},
        environment={"date": "2026-01-01T00:00:00+00:00", "host": "here", "micro_batches": [[0, 4]]},
        tricks={"mixup": {"alpha": 0.2}}, files={"metrics.csv": "0" * 64}, plugins={"mine": "1"},
        config={"tricks": {}, "seed": None},
        robustness={"small_c": robustness(CORRUPTED), "cifar10_p": robustness(PERTURBED, score="mfr", corruptions=1)},
    )  # fmt: skip


def sealed(values):
    """The values as a record that was written so; those that no record can hold as they are."""
    try:
        return sealed_text({name: value for name, value in values.items() if name != SEAL})
    except ValueError:
        return json.dumps(values)


def read(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_record(path)


def test_every_field_comes_back_as_it_was_written(tmp_path):
    assert read(tmp_path, record_text(full())) == full()
    assert json.loads(record_text(full()))["config"] == {"tricks": {}, "seed": None}


def test_fields_that_a_run_does_not_have_are_left_out_of_its_record():
    assert "warmup_seconds" not in to_json(record())["cost"]
    assert "teacher" not in to_json(record())["data"]


def drawn(found, style):
    rows = record_rows(found)
    return render(rows, run_columns(rows, style), style)


def test_a_record_of_format_1_reads_as_one_of_today():
    found = read_record(OLD["format1_averages"])
    assert found.format == RECORD_FORMAT
    assert list(found.metrics) == ["last", "ema"]
    assert found.metrics["ema"] == Scores(21.72701949860724, 59.33147632311978, 2.316203380361573, 7.603354834438497)
    assert {point.weights for point in found.cost.curve} == {"last", "ema"}
    assert found.tricks["mixup"]["unmixed_end"] == "0 epochs"
    assert settings_of(found).tricks["mixup"]["unmixed_end"] == "0 epochs"
    assert found.data.image_size == 8
    assert (found.environment.date, found.data.class_names, found.files) == (None, (), {})
    assert "mixup + " in drawn(found, "text")


def test_a_record_of_format_1_keeps_its_evaluation_on_corrupted_images():
    found = read_record(OLD["format1_robustness"])
    (row,) = record_rows(found)
    name = "cifar10_c[limit=50]"
    assert found.robustness[name].weights["last"].mce == row.cells()[f"mce:{name}"] == 80.69333333333333
    assert row.values()["robustness"][name]["errors"]["fog"] == [82.0, 84.0, 82.0, 82.0, 80.0]
    assert isinstance(found.cost.curve[0], CurvePoint)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("cost", "params"), "many", "cost.params must be a whole number, not 'many'"),
        (("cost", "params"), True, "cost.params must be a whole number"),
        (("cost", "macs"), 1.5, "cost.macs must be a whole number"),
        (("cost", "wall_seconds"), 10**400, "cost.wall_seconds: too large a number"),
        (("cost", "params"), 10**400, "cost.params: too large a number"),
        (("cost", "curve", 0, "score"), None, r"cost.curve\[0\].score must be a number"),
        (("data", "skipped"), "a.png", "data.skipped must be a list"),
        (("data", "teacher", "digest"), 1, "data.teacher.digest must be text"),
        (("metrics", "ema"), [], "metrics.ema must be an object"),
        (("metrics",), {}, "metrics.last is missing"),
        (("environment", "git_dirty"), "yes", "environment.git_dirty must be true or false"),
        (("cost", "parms"), 1, "cost.parms: unknown field"),
        (("format",), 0, "format 0 does not exist"),
        (("command",), "\ud800", "surrogates not allowed"),
        (
            ("robustness", "small_c", "weights", "last", "errors", "fog"),
            [101.0] * 5,
            r"last: an error is not in \[0, 100\]",
        ),
        (
            ("robustness", "small_c", "weights", "last", "clean_error"),
            float("nan"),
            "NaN is no JSON",
        ),
        (("robustness", "small_c", "weights", "last", "relative_mce"), float("inf"), "Infinity is no JSON"),
        (("robustness", "small_c", "corruptions"), 3, "small_c: it has not the errors of 3 corruptions"),
        (("robustness",), None, "robustness must be an object, not 'None'"),
        (("robustness", "small_c"), [], "robustness.small_c must be an object"),
        (("robustness", "small_c", "weights"), {}, "robustness.small_c: weights.last is missing"),
        (("robustness", "small_c", "score"), "mfr", "robustness.small_c: there is no mfr"),
        (("robustness", "small_c", "constants"), "svhn", "robustness.small_c: its images are neither"),
        (("robustness", "small_c", "weights", "last", "errors", "fog"), [], "weights.last: an error is missing"),
        (("robustness", "small_c", "weights", "last", "mce"), None, "weights.last: it must have mce and errors"),
        (("robustness", "cifar10_p", "weights", "last", "flips"), {}, "weights.last: an error is missing"),
    ],
)
def test_damage_is_reported_with_its_place(tmp_path, place, value, message):
    made = deepcopy(to_json(full()))
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(UserError, match=f"is not a record \\({message}|is not a record .*{message}"):
        read(tmp_path, sealed(made))


def test_bytes_of_an_argument_that_are_not_utf_8_do_not_damage_a_record(tmp_path):
    made = replace(full(), model={"name": "caf\udce9"}, command="bot-train store=caf\udce9")
    assert read(tmp_path, record_text(made)) == made


@pytest.mark.parametrize("data", [None, {"image_size": "large"}, {"mean": 1}, {"jitter": "rgb"}])
def test_settings_of_the_data_that_no_version_has_are_a_reason_to_doubt_the_robustness(data):
    damaged = replace(full(), config={"data": data})
    with pytest.raises(UserError, match="its settings are of another version"):
        data_settings_of(damaged)
    assert "another version" in record_rows(damaged)[0].overlaps[0]


def test_a_missing_field_is_named(tmp_path):
    made = to_json(full())
    del made["cost"]["params"]
    with pytest.raises(UserError, match=r"is not a record \(cost.params is missing\)"):
        read(tmp_path, sealed(made))


def places(value, place=()):
    """Yield the place of every value inside a JSON value."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield from places(held, (*place, key))


TEXTS = [record_text(full()), *(path.read_text() for path in OLD.values())]
OTHERS = [None, True, -1, 1.5, float("nan"), "text", [], {}, [[]], {"a": {}}, 10**400]


def usable(tmp_path, text):
    """Read the text as a record and use it in a table, or raise UserError."""
    try:
        found = read(tmp_path, text)
    except UserError:
        return
    rows = record_rows(found)
    for style in ("text", "csv", "json"):
        columns = run_columns(rows, style, scores=score_keys(rows, each=True))
        assert with_notes(render(rows, columns, style), robustness_notes(rows), style)
    for name, result in found.robustness.items():
        assert (robustness_value(found, "mce", name) is None) == result.of_flips
        with suppress(UserError):  # AlexNet has no errors on it
            assert error_report(name, result, "last", "text")
    assert found.reported in found.metrics
    assert record_text(found)


@given(st.data())
def test_a_value_of_another_type_anywhere_is_a_record_or_a_user_error(tmp_path_factory, data):
    made = json.loads(data.draw(st.sampled_from(TEXTS)))
    *before, at = data.draw(st.sampled_from([place for place in places(made) if place]))
    inner = made
    for key in before:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[at] = data.draw(st.sampled_from(OTHERS))
    else:
        del inner[at]
    usable(tmp_path_factory.mktemp("record"), sealed(made))


@given(st.data())
def test_changed_bits_and_truncations_are_a_record_or_a_user_error(tmp_path_factory, data):
    text = bytearray(data.draw(st.sampled_from(TEXTS)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    usable(tmp_path_factory.mktemp("record"), bytes(text[: data.draw(st.integers(0, len(text)))]))


@pytest.mark.parametrize("text", ["", "[]", "1", "null", '"a"', "{}", "[" * 100_000, "\ufeff{}", "{" * 5])
def test_other_json_is_no_record(tmp_path, text):
    with pytest.raises(UserError, match="is not a record"):
        read(tmp_path, text)


def test_a_folder_in_place_of_a_record_is_no_record(tmp_path):
    with pytest.raises(UserError, match="is not a record"):
        read_record(tmp_path)


# --- strict and sealed ---

SEALED = record_text(full())


def put(values, place, value):
    for key in place[:-1]:
        values = values[key]
    values[place[-1]] = value


NUMBERS = [
    place for place in places(json.loads(SEALED))
    if place and isinstance(reduce(lambda held, key: held[key], place, json.loads(SEALED)), int | float)
]  # fmt: skip


@pytest.mark.parametrize("place", NUMBERS, ids=str)
def test_no_number_of_a_record_can_be_changed_in_silence(tmp_path, place):
    made = json.loads(SEALED)
    put(made, place, 0.5 if place[-1] != "seed" else 1)
    with pytest.raises(UserError, match="its sha256 is not that of its values"):
        read(tmp_path, json.dumps(made))


@given(st.data())
def test_a_record_that_was_changed_anywhere_is_refused_or_says_the_same(tmp_path_factory, data):
    text = bytearray(SEALED.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(UserError):
        assert read(tmp_path_factory.mktemp("record"), bytes(text)) == full()


def test_the_order_of_the_keys_and_the_spaces_are_no_damage(tmp_path):
    made = json.loads(SEALED)
    assert read(tmp_path, json.dumps(dict(reversed(made.items())))) == full()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace('"seed": 0', '"seed": NaN'), "NaN is no JSON"),
        (lambda text: text.replace('"seed": 0', '"seed": -Infinity'), "-Infinity is no JSON"),
        (lambda text: text.replace('"seed": 0', '"seed": 1e999'), "1e999 is too large a number"),
        (lambda text: text.replace('"seed": 0', '"seed": 1, "seed": 0'), "it has the key 'seed' twice"),
        (lambda text: text.replace('"seed": 0', '"seed": ' + "9" * 5000), "limit"),
        (lambda text: text.replace('"seed": 0', '"seed": ' + "[" * 9999), "nested too deeply"),
        (lambda text: "\ufeff" + text, "BOM"),
        (lambda text: text.encode("utf-16"), "can't decode"),
        (lambda text: text.replace('"sha256"', '"sha257"'), "sha256 is missing"),
        (lambda text: text + "{}", "Extra data"),
    ],
)
def test_a_record_is_strict_json(tmp_path, change, why):
    with pytest.raises(DamagedRecord, match=why):
        read(tmp_path, change(SEALED))


def test_a_record_of_another_status_is_none(tmp_path):
    with pytest.raises(DamagedRecord, match="status is 'failed', not 'done'"):
        read(tmp_path, sealed({**to_json(full()), "status": "failed"}))


def test_scores_that_are_not_finite_are_missing_in_a_record(tmp_path):
    scores = scores_of({"top1": 10.0, "top5": 50.0, "loss": float("inf"), "ece": float("nan")})
    made = replace(full(), metrics={"last": scores})
    assert read(tmp_path, record_text(made)).metrics["last"] == Scores(10.0, 50.0, None, None)
    assert json.loads(record_text(made))["metrics"]["last"]["loss"] is None
    for style in ("text", "csv", "json", "markdown", "latex"):
        assert "nan" not in drawn(made, style).lower()


def test_records_of_earlier_versions_are_noted_once(capsys):
    note_once.cache_clear()
    for path in OLD.values():
        read_record(path)
    assert capsys.readouterr().err.count("records of earlier versions have no digest of their own") == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([2.0], Quartiles(count=1, min=2.0, q1=2.0, median=2.0, q3=2.0, max=2.0)),
        ([5.0, 1.0, 2.0, 3.0, 4.0], Quartiles(count=5, min=1.0, q1=2.0, median=3.0, q3=4.0, max=5.0)),
    ],
)
def test_the_quartiles(values, expected):
    assert quartiles(values) == expected


# --- files next to it ---


def whole_run(store, run_id="abc"):
    """A finished run, with files that its record has the digests of."""
    write_whole(store.weights(run_id), weights_writer({"w": torch.arange(4.0)}))
    store.write_metrics(run_id, [{"epoch": 1, "top1": 5.0}])
    store.write_record(record(id=run_id, files=store.digests(run_id)))
    return store.folder(run_id)


def test_weights_that_changed_are_refused_and_those_of_elsewhere_are_not(tmp_path):
    weights = whole_run(Store(tmp_path)) / "weights.safetensors"
    require_intact(weights)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"weights\.safetensors is not what the run wrote, by its SHA-256 in"):
        require_intact(weights)
    (tmp_path / "elsewhere").mkdir()
    require_intact(weights.rename(tmp_path / "elsewhere" / "weights.safetensors"))


def test_metrics_that_changed_are_named_and_the_record_is_shown(tmp_path, capsys):
    note_once.cache_clear()
    store = Store(tmp_path)
    (whole_run(store) / "metrics.csv").write_text("epoch,top1\n1,95.0\n")
    assert [found.id for found in store.records()] == ["abc"]
    assert "abc/metrics.csv is not what the run wrote" in capsys.readouterr().err


@pytest.mark.parametrize("place", [os.mkfifo, partial(os.symlink, "/dev/zero")])
def test_metrics_that_have_no_end_hold_nobody_up(tmp_path, place):
    store = Store(tmp_path)
    metrics = whole_run(store) / "metrics.csv"
    metrics.unlink()
    place(metrics)
    assert [found.id for found in store.records()] == ["abc"]


def test_a_run_whose_folder_is_closed_to_us_is_named(tmp_path, monkeypatch):
    whole_run(Store(tmp_path))
    lstat = Path.lstat

    def closed(path):
        if path.parent == tmp_path / "abc":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", closed)
    monkeypatch.setattr(Path, "is_symlink", lambda path: stat.S_ISLNK(path.lstat().st_mode))
    store = Store(tmp_path)
    assert list(store.records()) == []
    assert "abc/record.json is not a record ([Errno 13] Permission denied" in store.damaged[0]
    with pytest.raises(DamagedRecord):
        store.record("abc")


def in_the_way(path, what):
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(path.parent / "nowhere")
    elif what == "huge":
        with path.open("wb") as file:
            file.truncate(2**30)
    else:
        path.write_text(record_text(record(id="other")))


@pytest.mark.parametrize("what", ["folder", "pipe", "link", "huge", "another run's"])
def test_what_lies_in_the_place_of_a_record_is_named_and_the_others_are_shown(tmp_path, what):
    store = Store(tmp_path)
    whole_run(store, "whole")
    (tmp_path / "bad").mkdir()
    in_the_way(tmp_path / "bad" / "record.json", what)
    assert [found.id for found in store.records()] == ["whole"]
    assert len(store.damaged) == 1
    assert "bad/record.json is" in store.damaged[0]
    assert store.find("wh").id == "whole"
    for read_it in (store.record, store.find):
        with pytest.raises(UserError, match=r"bad/record\.json is"):
            read_it("bad")


def test_last_is_the_run_whose_record_was_written_last(tmp_path):
    store = Store(tmp_path)
    for run_id, seconds in (("first", 3), ("newest", 5), ("third", 4)):
        whole_run(store, run_id)
        os.utime(tmp_path / run_id / "record.json", (seconds, seconds))
    assert store.find("last").id == "newest"
    assert store.matching("last") == ["newest"]
    assert [store.matching(f"last~{n}") for n in (0, 1, 2, 3)] == [["newest"], ["third"], ["first"], []]
    assert Store(tmp_path / "newest").matching("last") == []
