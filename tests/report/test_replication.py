"""A study compared with a lock of it."""

import csv
import io
import json
from dataclasses import replace

import pytest

from bagoftricks.report.locking import lock_study
from bagoftricks.report.replication import compare_study, replication_text
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults
from tests.store.test_store import record, robustness

TOP1 = {"plain": [70.0, 70.4, 70.8], "mixup": [73.0, 73.5, 74.0]}


def study(top1: dict[str, list[float]], evaluation: str | None = None, **changes) -> StudyResults:
    """Results of a study of two arms whose runs have these accuracies, by seed."""
    records = {
        label: {
            seed: record(
                **{"id": f"{label}{seed}", "seed": seed, "metrics": {"top1": value}, "config": {"lr": 0.1}, **changes},
                robustness=robust(100 - value) if evaluation else {},
            )
            for seed, value in enumerate(values)
        }
        for label, values in top1.items()
    }
    arms = tuple(
        SavedArm(label=label, compare_to="plain" if label != "plain" else None, evaluation=evaluation) for label in top1
    )
    seeds = tuple(range(max(map(len, top1.values()))))
    saved = SavedStudy(name="s", command="bot-sweep here", seeds=seeds, arms=arms, whole={})
    return StudyResults(saved, records)


def robust(error: float) -> dict:
    scores = {"mce": error, "clean_error": error, "errors": {"fog": [error] * 5, "snow": [error] * 5}}
    return {"small_c": robustness(scores)}


def compared(here, there=TOP1, **changes):
    results = study(there)
    lock = lock_study(results.study, results.records)
    assert lock is not None
    return compare_study(lock, study(here, **changes))


def verdicts(found):
    return {(row.arm, row.against): row.verdict for row in found.rows}


def test_the_same_runs_are_identical_and_need_no_test():
    found = compared(TOP1)
    assert set(verdicts(found).values()) == {"identical"}
    assert (found.same_runs, found.identical) == (6, 6)


def test_a_mean_that_moved_does_not_repeat_and_a_difference_that_stayed_does():
    # mixup by 3 above plain, there and here; all of it two points lower here
    found = verdicts(compared({"plain": [68.1, 68.4, 68.6], "mixup": [71.0, 71.4, 71.9]}))
    assert found["plain", None] == found["mixup", None] == "does not repeat"
    assert found["mixup", "plain"].startswith("repeats, to within 0.")


def test_a_claimed_difference_that_is_gone_does_not_repeat():
    found = compared({"plain": [70.1, 70.3, 70.9], "mixup": [70.0, 70.5, 70.8]})
    assert verdicts(found)["mixup", "plain"] == "does not repeat"
    (row,) = [row for row in found.rows if row.against]
    assert (row.there.mean, row.here.mean) == pytest.approx((3.1, 0.0), abs=1e-9)
    assert row.repeat.difference == pytest.approx(-3.1)


def test_one_seed_here_is_enough_where_there_are_several_there():
    found = verdicts(compared({"plain": [70.5], "mixup": [60.0]}))
    assert found["plain", None].startswith("repeats, to within ")
    assert found["mixup", None] == "does not repeat"


def test_too_few_seeds_and_missing_arms_are_said():
    found = compared({"plain": [70.1], "more": [1.0]}, there={"plain": [70.0], "mixup": [71.0]})
    assert verdicts(found)["plain", None] == "too few seeds to tell"
    assert verdicts(found)["mixup", None] == verdicts(found)["mixup", "plain"] == "not run here"
    assert "arms there alone: mixup" in found.notes
    assert "arms here alone: more" in found.notes


def test_what_may_explain_a_difference_is_noted():
    changes = {
        "data": {"digest": "other", "train_images": 7},
        "environment": {"torch": "2"},
        "config": {"lr": 0.2, "data": {"root": "/x"}},
        "id": "z",
    }
    notes = "\n".join(compared({"plain": [70.0], "mixup": [73.0]}, **changes).notes)
    assert "torch: 1 there, 2 here" in notes
    assert "data: digits (8 + 2 images) there, digits (7 + 2 images) here, by digest" in notes
    assert "lr: 0.1 there, 0.2 here" in notes
    assert "root" not in notes
    assert "seeds: 0, 1, 2 there, 0 here" in notes
    assert "0 of the 6 runs have one id" in notes


def test_runs_of_one_id_with_other_weights_are_counted():
    files = {"files": {"weights.safetensors": "x"}}
    here = study({"plain": [70.0, 70.4, 70.7], "mixup": TOP1["mixup"]}, **files)
    there = study(TOP1, files={"weights.safetensors": "y"})
    found = compare_study(lock_study(there.study, there.records), here)
    assert (found.same_runs, found.identical) == (6, 0)
    assert "differ by at most 0.10 points of top-1" in "\n".join(found.notes)


def test_robustness_is_compared_where_it_was_measured_in_one_way():
    there = study(TOP1, evaluation="small_c")
    lock = lock_study(there.study, there.records)
    found = compare_study(lock, study(TOP1, evaluation="small_c"))
    rows = {(row.arm, row.score): row for row in found.rows if row.against is None}
    assert rows["plain", "mce"].here.mean == pytest.approx(100 - 70.4)
    other = replace(lock, arms=tuple(replace(arm, evaluation="small_c[limit=5]") for arm in lock.arms))
    assert {row.score for row in compare_study(other, study(TOP1, evaluation="small_c")).rows} == {"top1"}


def test_a_comparison_is_drawn_in_every_style():
    found = compared({"plain": [70.1, 70.3, 70.9], "mixup": [71.0, 71.4, 71.9]})
    text = replication_text(found, "text")
    assert "mixup - plain" in text
    assert "does not repeat" in text
    assert "| mixup - plain " in replication_text(found, "markdown")
    assert "\\toprule" in replication_text(found, "latex")
    assert 'data-runs="mixup0 mixup1 mixup2"' in replication_text(found, "html")
    rows = list(csv.DictReader(io.StringIO(replication_text(found, "csv"))))
    assert float(rows[0]["here"]) == pytest.approx(70.4333, abs=1e-3)
    values = json.loads(replication_text(found, "json"))
    assert values["rows"][0]["repeat"]["n_there"] == 3
    assert values["rows"][0]["runs"] == ["plain0", "plain1", "plain2"]


def factorial(*values_of_arms: list[float]) -> StudyResults:
    """Results of a factorial of two tricks: accuracies by seed without, with a, with b and with both."""
    scores = dict(zip(("", "a", "b", "a b"), values_of_arms, strict=True))
    arms = tuple(SavedArm(label=label or "baseline", on=tuple(label.split())) for label in scores)
    records = {
        label or "baseline": {
            seed: record(id=f"{label.replace(' ', '')}{seed}", seed=seed, metrics={"top1": value})
            for seed, value in enumerate(values)
        }
        for label, values in scores.items()
    }
    factors = (("a",), ("b",))
    saved = SavedStudy(
        name="s", command="bot-sweep", seeds=(0, 1, 2), arms=arms, whole={}, design="factorial", factors=factors
    )
    return StudyResults(saved, records)


def test_effects_of_a_factorial_are_compared():
    there = factorial([50.0, 51.0, 50.4], [55.1, 56.0, 55.6], [50.3, 50.8, 50.1], [55.0, 56.3, 55.2])
    again = factorial([50.2, 50.7, 50.1], [55.0, 56.1, 55.5], [50.0, 51.0, 50.5], [55.3, 56.0, 55.1])
    gone = factorial([50.2, 50.7, 50.1], [50.0, 51.1, 50.5], [50.0, 51.0, 50.5], [50.3, 51.0, 50.1])
    lock = lock_study(there.study, there.records)
    same, other = (compare_study(lock, here) for here in (again, gone))
    effects = {row.name: row for row in same.rows if row.is_effect}
    assert list(effects) == ["effect of a", "effect of b", "effect of a x b"]
    row = effects["effect of a"]
    assert row.there.mean == pytest.approx(5.1, abs=0.05)  # by hand: 55.53 - 50.43
    assert row.verdict.startswith("repeats, to within")
    assert {row.name: row.verdict for row in other.rows}["effect of a"] == "does not repeat"
    assert "effect of a x b" in replication_text(same, "text")
    wild = factorial([50.2, 50.7, 50.1], [50.0, 61.1, 55.5], [50.0, 51.0, 50.5], [50.3, 61.0, 55.1])
    rows = {row.name: row.verdict for row in compare_study(lock, wild).rows}
    assert rows["effect of a"] == "too few seeds to tell"  # whether it is the claimed 5.1 or none at all
