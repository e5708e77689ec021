import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.report.robustness import error_report, robustness_notes, score_keys
from bagoftricks.report.study_robustness import robustness as robustness_value
from bagoftricks.report.styles import with_notes
from bagoftricks.report.table import RECORDS, record_rows, render, with_robustness
from bagoftricks.store.json_fields import to_json
from bagoftricks.store.record import (
    RECORD_FORMAT,
    CurvePoint,
    Scores,
    data_settings_of,
    read_record,
    record_text,
    settings_of,
)
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
    last = {"epoch": 1, "steps": 5, "weights": "last", "train_seconds": 1.0, "top1": 50.0}
    return record(
        metrics={"last": {"ece": 2.0}, "ema": {"top1": 1.5}},
        cost={"curve": [last], "warmup_seconds": 1.0, "teacher_params": 3},
        data={"class_names": ["cat", "dog"], "class_counts": [3, 5], "teacher": TEACHER, "skipped": ["a.png"]},
        environment={"date": "2026-01-01T00:00:00+00:00", "host": "here", "micro_batches": [[0, 4]]},
        tricks={"mixup": {"alpha": 0.2}}, files={"metrics.csv": "0" * 64}, plugins={"mine": "1"},
        config={"tricks": {}, "seed": None},
        robustness={"small_c": robustness(CORRUPTED), "cifar10_p": robustness(PERTURBED, score="mfr", corruptions=1)},
    )  # fmt: skip


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
    assert "mixup + " in render(record_rows(found), RECORDS, "text")


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
        (("cost", "curve", 0, "top1"), None, r"cost.curve\[0\].top1 must be a number"),
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
            r"last: an error is not in \[0, 100\]",
        ),
        (("robustness", "small_c", "weights", "last", "relative_mce"), float("inf"), "last: a score is not finite"),
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
        read(tmp_path, json.dumps(made))


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
        read(tmp_path, json.dumps(made))


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
    columns = with_robustness(RECORDS, rows, score_keys(rows, each=True))
    for style in ("text", "csv", "json"):
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
    usable(tmp_path_factory.mktemp("record"), json.dumps(made))


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
