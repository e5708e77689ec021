"""Frames: one row for each run, evaluation or arm, units in the names, one type in each column, provenance."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.column import Column
from bagoftricks.report.dawnbench import Measure
from bagoftricks.report.frames import Study, corruptions, curves, results, study
from bagoftricks.report.table import record_rows, render
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import Plan, save_study
from tests.report.test_study import arm, scores, study_of, two_arms
from tests.store.test_store import record, robustness


@pytest.fixture
def store(tmp_path):
    point = {"epoch": 1, "steps": 4, "weights": "last", "train_seconds": 2.0, "score": 60.0}
    config = {"lr": 0.1, "data": {"limit": None}, "tricks": {}}
    errors = {"fog": [30.0] * 5, "snow": [32.0] * 5}
    made = Store(tmp_path)
    runs = [
        record(id="a", metrics=scores(70.0, ema=71.0), config=config, cost={"curve": [point]}),
        record(id="b", metrics=scores(72.0), config={**config, "data": {"limit": 5}}, seed=1),
        record(
            id="c",
            metrics=scores(70.0),
            robustness={"small_c": robustness({"mce": 31.0, "clean_error": 5.0, "errors": errors})},
            config={"data": {}, "image_size": 8},
        ),
    ]
    for run in runs:
        made.folder(run.id).mkdir(parents=True)
        made.write_record(run)
    return made


def test_results_have_a_row_for_each_weight_set_with_units_settings_and_provenance(store):
    frame = results(store.root)
    assert frame[["id", "weights", "reported", "top1_percent"]].values.tolist() == [
        ["a", "last", False, 70.0],
        ["a", "ema", True, 71.0],
        ["b", "last", True, 72.0],
        ["c", "last", True, 70.0],
    ]
    assert {"loss_nats", "soft_top1_percent", "mce_percent:small_c", "lr", "data.limit", "device"} <= set(frame.columns)
    assert "top1" not in frame.columns
    assert frame.attrs["store"] == str(store.root)
    assert frame.attrs["left_out"] == []


def test_columns_have_one_type_and_whole_numbers_stay_whole(store):
    frame = results(store.root)
    assert frame["data.limit"].dtype == "Int64"
    assert frame["data.limit"].dropna().tolist() == [5]
    assert frame["seed"].dtype == "int64"
    assert frame["top1_percent"].dtype == "float64"


def test_a_damaged_record_is_left_out_and_named(store):
    (store.folder("b") / "record.json").write_text("{")
    frame = results(store.root)
    assert list(frame["id"]) == ["a", "a", "c"]
    assert "is not a record" in frame.attrs["left_out"][0]


def test_curves_are_those_of_the_metrics_file_or_of_the_record(store):
    assert curves(store.root)[["id", "epoch", "top1_percent"]].values.tolist() == [["a", 1, 60.0]]
    rows = [{"epoch": 1, "weights": "last", "train_loss": 0.5, "top1": 61.0}]
    store.write_metrics("a", rows)
    frame = curves(store.root)
    assert frame[["top1_percent", "train_loss_nats"]].values.tolist() == [[61.0, 0.5]]
    (store.folder("a") / "metrics.csv").write_text("epoch,weights,top1\n1,last,much\n")
    assert curves(store.root)["top1_percent"].tolist() == [60.0]


def test_corruptions_have_a_row_for_each_severity(store):
    frame = corruptions(store.root)
    assert len(frame) == 10
    assert frame.query("corruption == 'snow' and severity == 3")["error_percent"].tolist() == [32.0]
    assert frame.attrs["notes"][0].startswith("small_c: 2 corruptions x 5 severities")


def test_a_study_has_its_arms_runs_and_notes(tmp_path):
    shown = Study(two_arms(), Store(tmp_path))
    arms = shown.arms.set_index("arm")
    assert arms.loc["plain", "top1_percent"] == 71.0
    assert arms.loc["cosine", "difference_points"] == pytest.approx(-0.85)
    assert arms.loc["cosine", "difference_points_low"] == pytest.approx(-1.485, abs=1e-3)
    assert arms.loc["cosine", "runs"] == ("c1", "c2")
    assert shown.runs[["arm", "seed", "id"]].values.tolist()[-1] == ["cosine", 2, "c2"]
    assert shown.runs["difference_points"].tolist()[3:] == pytest.approx([-0.9, -0.8])
    assert shown.notes[-1] == "made by: bot-sweep"
    assert shown.arms.attrs["study"] == "s"
    assert shown.effects.empty
    assert "estimate_points" in shown.effects
    assert "<table>" in shown._repr_html_()
    assert repr(shown).startswith("A study\narm")
    assert shown.table("csv").startswith("label,n")
    with pytest.raises(UserError, match="style=docx: must be one of text, markdown"):
        shown.table("docx")


def test_a_study_is_found_by_its_name(tmp_path):
    save_study(Store(tmp_path), "s", Plan((Arm(label="a"),), (0,), (), {}, {}), {"command": "c"})
    assert study("s", tmp_path).arms["missing"].tolist() == ["not run"]


def test_frames_of_an_empty_store_have_columns(tmp_path):
    for make in (results, curves, corruptions):
        frame = make(tmp_path)
        assert frame.empty
        assert {"id", "weights"} <= set(frame.columns)


def test_parquet_keeps_types_notes_and_runs(store, tmp_path):
    frame = results(store.root)
    frame.to_parquet(tmp_path / "f.parquet")
    again = pd.read_parquet(tmp_path / "f.parquet")
    assert again["data.limit"].dtype == "Int64"
    assert again.attrs == frame.attrs


def test_frames_json_and_text_have_the_same_numbers(store):
    frame, rows = results(store.root), [row for run in store.records() for row in record_rows(run)]
    values = json.loads(render(rows, (), "json"))
    assert [row["top1"] for row in values] == frame["top1_percent"].tolist()
    assert [row["params"] for row in values] == frame["params"].tolist()
    lines = render(rows, [Column("top1", "top-1 %", "{:.2f}".format)], "text").splitlines()[2:]
    assert [float(line) for line in lines] == frame["top1_percent"].tolist()


def test_runs_of_a_study_of_times_have_their_seconds(tmp_path):
    curve = [{"epoch": 1, "steps": 4, "weights": "last", "train_seconds": 2.0, "score": 60.0}]
    plain = {0: record(id="p", metrics=scores(60.0), cost={"curve": curve})}
    timed = replace(study_of(arm("plain"), plain=plain), measure=Measure(target=0.5))
    assert Study(timed, Store(tmp_path)).runs["time_to_accuracy_seconds"].tolist() == [2.0]


@pytest.mark.parametrize("text", ["epoch,top1\n1,61\n", "epoch,weights,top1\n1,last,61,9\n", "\xff"])
def test_metrics_that_are_none_of_ours_are_left_for_those_of_the_record(store, text):
    (store.folder("a") / "metrics.csv").write_text(text, encoding="latin-1")
    assert curves(store.root)["top1_percent"].tolist() == [60.0]
