import pytest

from bagoftricks.report.study import study_rows, value
from tests.study.test_store import record


def scores(top1: float, **copies: float) -> dict:
    averaged = {name: {"top1": accuracy, "top5": 99.0, "loss": 0.5} for name, accuracy in copies.items()}
    return {"top1": top1, "top5": 98.0, "loss": 0.6, **({"copies": averaged} if averaged else {})}


def arm(label: str, compare_to: str | None = None) -> dict:
    return {"label": label, "compare_to": compare_to, "needs": (), "published": {}, "runs": {}}


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
    assert rows[1]["comparison"]["difference"] == pytest.approx(1.0)
