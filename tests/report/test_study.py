import json
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.locking import lock_study
from bagoftricks.report.study import against_note, draw_study, shown_row, study_headings, tabulate_rows
from bagoftricks.report.study_parts import SavedArm, SavedStudy, load_study
from bagoftricks.report.study_results import COLUMNS, StudyResults, shapley_shares, study_rows, value
from bagoftricks.report.study_robustness import measured_evaluations
from bagoftricks.store.store import Store
from bagoftricks.study.lock import lock_digest, lock_line, read_lock
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


def study_of(*arms: SavedArm, **records: dict) -> StudyResults:
    study = SavedStudy(name="s", command="bot-sweep", seeds=(0, 1, 2), arms=arms, whole={}, title="A study", source="P")
    return StudyResults(study, records)


def two_arms() -> StudyResults:
    plain = {seed: record(id=f"p{seed}", metrics=scores(70.0 + seed), seed=seed) for seed in range(3)}
    cosine = {seed: record(id=f"c{seed}", metrics=scores(69.0 + 1.1 * seed), seed=seed) for seed in (1, 2)}
    return study_of(arm("plain"), arm("cosine", "plain"), plain=plain, cosine=cosine)


def test_every_cell_names_the_runs_that_it_is_made_of():
    results = two_arms()
    rows = json.loads(draw_study(results, "json"))["rows"]
    assert rows[0]["runs"]["top1"] == ["p0", "p1", "p2"]
    assert rows[1]["runs"]["comparison"] == ["c1", "c2", "p1", "p2"]  # the seeds that both have
    assert sorted(rows[1]["runs"]) == sorted([*rows[1]["values"], "comparison"])
    shown = draw_study(results, "html")
    assert '<td class="number" data-runs="p0 p1 p2">71.00 ± 2.48</td>' in shown
    assert '<td data-runs="c1 c2 p1 p2">hurts</td>' in shown


def test_latex_is_a_float_with_caption_label_and_the_columns_of_a_paper():
    shown = draw_study(two_arms(), "latex")
    assert shown.startswith("% A study\n% paper's numbers: P\n")
    assert r"\caption{A study. Mean ± half of the 95 \% t interval over n seeds." in shown
    assert r"\label{tab:s}" in shown
    assert "$-$0.85 {[}$-$1.49, $-$0.21{]} & hurts" in shown
    assert "needs about" not in shown.replace("% ", "")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_of_a_study_compiles(tmp_path):
    body = draw_study(two_arms(), "latex")
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_a_table_carries_the_lock_of_its_study(tmp_path):
    (tmp_path / "table.json").write_text(draw_study(two_arms(), "json"))
    lock = read_lock("from", str(tmp_path / "table.json"))
    assert lock == lock_study(two_arms().study, two_arms().records)
    text = draw_study(two_arms(), "latex", caption="Two arms_ ({lock}).")
    assert f"\\caption{{Two arms\\_ ({lock_digest(lock)[:16]}).}}" in text
    assert f"% {lock_line(lock, command=False)}" in text.splitlines()
    assert f"% made by: {lock.command}" in text.splitlines()


def test_results_have_values_and_paired_differences_by_seed():
    results = two_arms()
    assert results.values("plain") == {0: 70.0, 1: 71.0, 2: 72.0}
    assert results.differences("cosine") == pytest.approx({1: -0.9, 2: -0.8})
    assert results.differences("plain") == {}


def test_latex_of_one_seed_says_that_nothing_follows():
    arms = {name: {0: record(id=name, metrics=scores(top1))} for name, top1 in (("plain", 70.0), ("cosine", 75.0))}
    shown = draw_study(study_of(arm("plain"), arm("cosine", "plain"), **arms), "latex")
    assert "One seed: no interval, no conclusion." in shown
    assert "t interval over 1" not in shown.partition(r"\begin{table}")[2]
    assert "n.d." not in shown
