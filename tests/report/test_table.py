import csv
import io
import json

from bagoftricks.report.labels import label
from bagoftricks.report.objective import best_of_note
from bagoftricks.report.table import record_rows, render, run_columns
from tests.store.test_store import record

COSTS = {"params": 25_557_032, "macs": 3_857_973_248, "wall_seconds": 12.3}


def made(**changes):
    return record(
        model={"name": "resnet50"}, data={"name": "digits"}, cost=COSTS,
        metrics={"top1": 76.213, "top5": 93.0, "loss": 0.95}, **changes,
    )  # fmt: skip


def test_labels_follow_the_catalogue_and_name_changed_hyper_parameters_only():
    tricks = {"mixup": {"alpha": 0.5, "partner": "batch"}, "cosine": {}, "resnet_d": {}}
    assert label(tricks) == "resnet_d + cosine + mixup(alpha=0.5)"
    assert label({}) == "baseline"


def test_a_text_table_shows_the_units_of_the_papers():
    rows = record_rows(made(id="0123456789abcdef"))
    heading, _, row = render(rows, run_columns(rows, "text"), "text").splitlines()
    assert heading.split("  ")[0] == "run"
    assert row.split() == ["baseline", "76.21", "01234567", "93.00", "0.9500", "25.557", "3.858", "1", "1", "1", "12"]


def test_csv_and_json_keep_full_precision():
    rows = record_rows(made())
    (from_csv,) = csv.DictReader(io.StringIO(render(rows, run_columns(rows, "csv"), "csv")))
    (from_json,) = json.loads(render(rows, (), "json"))
    assert from_csv["macs"] == "3857973248"
    assert float(from_csv["top1"]) == from_json["top1"] == 76.213


def test_soft_top1_is_a_column_where_it_is_asked_for_and_in_csv():
    rows = record_rows(record(metrics={"soft_top1": 75.124}, model={"name": "r"}, data={"name": "d"}))
    assert "soft" not in render(rows, run_columns(rows, "text"), "text")
    heading, _, row = render(rows, run_columns(rows, "text", ["soft_top1"]), "text").splitlines()
    assert "soft top-1 %" in heading
    assert "75.12" in row
    (from_csv,) = csv.DictReader(io.StringIO(render(rows, run_columns(rows, "csv"), "csv")))
    assert from_csv["soft_top1"] == "75.124"


def test_an_average_has_a_row_of_its_own():
    scores = {"last": {"top1": 70.0, "top5": 90.0, "loss": 1.0}, "ema": {"top1": 71.0, "top5": 91.0, "loss": 0.9}}
    rows = record_rows(record(metrics=scores, model={"name": "r"}, data={"name": "d"}))
    assert [(row.label, row.scores.top1) for row in rows] == [("baseline", 70.0), ("baseline [ema]", 71.0)]


def test_the_best_of_several_runs_is_called_too_high_where_luck_chose_it():
    (note,) = best_of_note("-top1", 12)
    assert note.startswith("the best of 12 by top1 is partly luck: its number is too good; confirm it with fresh seeds")
    assert best_of_note("loss", 2)
    for sort, count in (("-top1", 1), ("top1", 12), ("-loss", 12), ("-infer_images_per_s", 12), ("-lr", 12)):
        assert best_of_note(sort, count) == []
