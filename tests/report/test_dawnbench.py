from dataclasses import replace

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.dawnbench import Measure, make_measure, measure_values, notes, reached, seconds_to
from bagoftricks.report.study import shown_row
from bagoftricks.report.study_results import chosen_columns, columns_by_key
from bagoftricks.store.record import CurvePoint
from tests.report.test_study import arm, study_of
from tests.store.test_store import record


def trained(*accuracies, seconds=10.0, weights="last", seed=0, **cost):
    """A run whose epochs took ``seconds`` each and ended with these accuracies."""
    curve = [
        {"epoch": i, "steps": 5 * i, "weights": weights, "train_seconds": seconds * i, "score": top1}
        for i, top1 in enumerate(accuracies, 1)
    ]
    costs = {
        "curve": curve,
        "train_seconds": seconds * len(accuracies),
        "infer_images_per_s": 1000.0,
        "latency_ms": 2.5,
    }
    metrics = {name: {"top1": accuracies[-1]} for name in dict.fromkeys(["last", weights])}
    return record(metrics=metrics, cost={**costs, **cost}, seed=seed)


def rows(runs, target=0.6, compare_to=None):
    records = {label: dict(enumerate(found)) for label, found in runs.items()}
    arms = [arm(label, compare_to if label != compare_to else None) for label in runs]
    return measured(arms, records, target).rows(["time_to_accuracy"])


def measured(arms, records, target=0.6):
    return replace(study_of(*arms, **records), measure=Measure(target))


def cells(row, target=0.6):
    results = measured([arm(row.label)], {row.label: {}}, target)
    return shown_row(row, [columns_by_key(Measure(target))["time_to_accuracy"]], results)["s to 60 %"]


def test_it_is_the_training_time_of_the_first_evaluation_at_the_target_or_above():
    run = trained(50.0, 60.0, 59.0, 70.0)
    assert seconds_to(run, 0.6) == 20.0  # at the target counts, and that it fell again does not
    assert seconds_to(run, 0.601) == 40.0
    assert seconds_to(run, 0.701) is None


def test_where_there_is_one_average_its_accuracy_counts():
    run = trained(61.0, 62.0, weights="ema")
    first = CurvePoint(epoch=1, steps=5, weights="last", train_seconds=1.0, score=99.0)
    run = replace(run, cost=replace(run.cost, curve=(first, *run.cost.curve)))
    assert seconds_to(run, 0.6) == 10.0
    assert seconds_to(run, 0.6, "last") == 1.0


def test_mean_and_interval_are_over_the_runs_that_reach_it_with_their_share():
    (row,) = rows({"a": [trained(50, 60), trained(60), trained(10, 20)]})
    # 20 and 10 s: mean 15, s = 7.071, t(1) = 12.706, so 12.706 * 7.071 / sqrt(2) = 63.5.
    assert cells(row) == "15.0 ± 63.5 (2 of 3)"
    assert row.reached == (2, 3)


def test_not_reached_is_said_and_nothing_is_guessed():
    (row,) = rows({"a": [trained(50, 59.99), trained(59)]})
    assert cells(row) == "not reached (0 of 2)"
    assert "time_to_accuracy" not in row.values


def test_runs_of_an_earlier_version_do_not_count():
    old = record(metrics={"top1": 99.0}, cost={"train_seconds": 5.0, "infer_images_per_s": 1.0})
    assert reached([old, trained(61)], 0.6) == (1, 1)
    assert any("1 runs of an earlier version" in note for note in notes([old, trained(61)], Measure(0.6)))


def test_less_time_is_better_and_differences_are_in_seconds():
    slow = [trained(61, seconds=s) for s in (30.0, 31.0, 32.0)]
    fast = [trained(61, seconds=s) for s in (20.0, 21.5, 22.0)]
    found = rows({"slow": slow, "fast": fast}, compare_to="slow")[1].comparison
    assert found.difference == pytest.approx(-29.5 / 3)  # the mean of -10, -9.5 and -10
    assert found.verdict == "helps"


def test_arms_of_which_some_runs_do_not_reach_it_are_not_compared():
    found = rows({"a": [trained(61), trained(61)], "b": [trained(61), trained(59)]}, compare_to="a")
    assert found[1].comparison is None


def test_money_is_time_at_the_price_of_an_hour():
    run = trained(61, 62, seconds=1800.0)
    assert measure_values(run, Measure(0.6, 3.0))["train_cost"] == pytest.approx(1.5)  # half an hour to the target
    assert measure_values(run, Measure(None, 3.0))["train_cost"] == pytest.approx(3.0)  # an hour in all
    assert measure_values(run, Measure(0.6, 3.6))["infer_cost"] == pytest.approx(0.01)  # 10,000 images in 10 s
    assert "train_cost" not in measure_values(trained(10), Measure(0.6, 3.0))


def test_the_columns_of_the_measure_come_with_the_one_that_judges_first():
    measure = Measure(0.6, 2.0)
    known = columns_by_key(measure)
    assert chosen_columns(("top1", "params"), known, measure) == (
        *("time_to_accuracy", "top1", "params", "latency_ms", "train_cost", "infer_cost"),
    )
    assert chosen_columns(("top1",), columns_by_key(Measure()), Measure()) == ("top1",)
    with pytest.raises(
        UserError, match=r"time_to_accuracy needs an accuracy: add metric=time_to_accuracy target=0\.94"
    ):
        chosen_columns(("time_to_accuracy",), columns_by_key(Measure()), Measure())


def test_what_went_before_the_clock_is_stated_apart():
    said = notes([trained(61, warmup_seconds=12.0), trained(61, warmup_seconds=1.0)], Measure(0.6))
    assert any("warm-up and compilation: 1.0 to 12.0 s a run" in note for note in said)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("top2", 0.9, None), "metric=top2: must be one of top1, time_to_accuracy; did you mean 'top1'"),
        (("top1", 94.0, None), r"target=94: must be in \(0, 1\), as target=0\.94 for 94 %"),
        (("top1", 0.9, 0.0), "price_per_hour=0.0: must be positive"),
    ],
)
def test_what_cannot_be_measured_is_refused(typed, message):
    with pytest.raises(UserError, match=f"^{message}"):
        make_measure(*typed)
