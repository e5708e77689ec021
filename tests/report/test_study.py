from dataclasses import replace
from types import SimpleNamespace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.study import (
    COLUMNS,
    against_note,
    shapley_shares,
    shown_row,
    study_headings,
    study_rows,
    tabulate_rows,
    value,
)
from bagoftricks.report.study_parts import SavedArm, load_study
from bagoftricks.report.study_robustness import measured_evaluations
from bagoftricks.store.store import Store
from tests.store.test_store import record, robustness


def scores(top1: float, **averages: float) -> dict:
    averaged = {name: {"top1": accuracy, "top5": 99.0, "loss": 0.5} for name, accuracy in averages.items()}
    return {"last": {"top1": top1, "top5": 98.0, "loss": 0.6}, **averaged}


def arm(label: str, compare_to: str | None = None, evaluation: str | None = None) -> SavedArm:
    return SavedArm(label=label, compare_to=compare_to, evaluation=evaluation)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [(scores(70.0), 70.0), (scores(70.0, ema=71.0), 71.0), (scores(70.0, ema=71.0, swa=72.0), 70.0)],
    ids=["no average", "one average", "two averages"],
)
def test_an_arm_is_scored_by_its_average_where_there_is_one(metrics, expected):
    assert value(record(metrics=metrics), "top1") == expected


def test_an_average_is_compared_with_the_weights_that_the_other_arm_is_scored_by():
    plain = {seed: record(metrics=scores(70.0 + seed), seed=seed) for seed in range(3)}
    averaged = {seed: record(metrics=scores(0.0, ema=71.0 + seed), seed=seed) for seed in range(3)}
    rows = study_rows([arm("plain"), arm("ema", "plain")], {"plain": plain, "ema": averaged}, ["top1"])
    assert rows[1].comparison.difference == pytest.approx(1.0)


def test_a_number_that_only_some_rows_have_leaves_the_others_empty():
    rows = [{"label": "a", "top1": 70.0}, {"label": "b", "top1_published": 71.0}]
    assert tabulate_rows(rows, "csv") == "label,top1,top1_published\na,70.0,\nb,,71.0"


def test_shapley_shares_are_of_the_seeds_that_every_subset_has():
    arms = {"none": frozenset(), "a": frozenset("a"), "b": frozenset("b"), "ab": frozenset("ab")}
    gain = {"none": 0.0, "a": 1.0, "b": 2.0, "ab": 3.0}
    records = {
        label: {seed: record(metrics=scores(50.0 + 10 * seed + gain[label]), seed=seed) for seed in range(2)}
        for label in arms
    }
    assert shapley_shares(arms, records, ["a", "b"]) == pytest.approx({"a": 1.0, "b": 2.0})
    del records["none"][0]
    assert shapley_shares(arms, records, ["a", "b"]) == pytest.approx({"a": 1.0, "b": 2.0})
    del records["a"][1]
    assert shapley_shares(arms, records, ["a", "b"]) == {}


def robust(record_seed: int, error: float, **tricks: dict) -> dict:
    errors = {"fog": [error] * 5, "snow": [error + 2] * 5}
    result = robustness({"mce": error + 1, "clean_error": 5.0, "errors": errors})
    config = {"data": {}, "image_size": 8}
    return record(metrics=scores(70.0), seed=record_seed, tricks=tricks, config=config, robustness={"small_c": result})


def test_corruption_errors_have_their_mean_interval_and_paired_difference():
    few = {seed: robust(seed, 30.0 + seed, randaugment={}) for seed in range(3)}
    many = {seed: robust(seed, 40.0 + 1.1 * seed) for seed in range(3)}
    arms = [arm("plain", evaluation="small_c"), arm("aug", "plain", "small_c")]
    plain, aug = study_rows(arms, {"plain": many, "aug": few}, ["top1", "mce", "fog"])
    assert aug.values["mce"].mean == pytest.approx(32.0)
    assert aug.values["fog"].mean == pytest.approx(31.0)
    assert aug.values["mce"].low is not None
    assert aug.comparison_mce.difference == pytest.approx(-10.1)
    assert aug.comparison_mce.verdict == "helps"  # fewer errors
    assert (plain.overlaps, len(aug.overlaps)) == ([], 1)
    headed = study_headings(["top1", "mce"], COLUMNS, measured_evaluations(arms, {"plain": many, "aug": few}))
    assert [column.heading for column in headed] == ["top-1 %", "corruption error % (small_c)"]
    cells = shown_row(aug, headed, several=False)
    assert cells["corruption error % (small_c)"] == "32.00 ± 2.48†"
    assert cells["mCE difference [95 %]"].startswith("-10.10 [")


def test_the_evaluation_that_an_arm_was_to_have_is_the_one_that_is_shown():
    both = robust(0, 30.0)
    both.robustness["small_c[limit=5]"] = robust(0, 50.0).robustness["small_c"]
    assert value(both, "mce", evaluation="small_c[limit=5]") == 51.0
    assert value(both, "mce", evaluation="small_c") == 31.0
    assert value(both, "mce") is None  # which one is not said


def test_an_average_is_what_robustness_is_scored_by_too():
    averaged = robust(0, 30.0)
    weights = averaged.robustness["small_c"].weights
    weights["ema"] = replace(weights["last"], mce=20.0)
    assert value(averaged, "mce") == 20.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a study"),
        ("[]", "is not a study"),
        ("{}", "is not a study"),
        ('{"name": "s", "command": "c", "seeds": ["a"], "arms": []}', r"seeds\[0\] must be a whole number"),
        ('{"name": "s", "command": "c", "seeds": [0], "arms": [{}]}', r"arms\[0\].label is missing"),
        ('{"name": "s", "command": "c", "seeds": [0], "arms": [{"label": "a", "runs": {"x": "y"}}]}', "is not a study"),
    ],
)
def test_a_damaged_study_is_refused_with_the_place_of_the_damage(tmp_path, text, message):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/s.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_study(Store(tmp_path), "s")


@pytest.mark.parametrize(
    ("against", "note"),
    [
        ({"b": "a", "c": "b"}, "differences are against the row above"),
        ({"b": "a", "c": "a"}, "differences are against a"),
        ({"c": "a"}, ""),
        ({}, ""),
    ],
)
def test_a_note_says_what_rows_are_compared_with_where_no_column_is_needed(against, note):
    rows = [
        SimpleNamespace(label=name, comparison=SimpleNamespace(against=against[name]) if name in against else None)
        for name in "abc"
    ]
    assert against_note(rows) == note
