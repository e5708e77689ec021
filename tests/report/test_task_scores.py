"""A study whose rows are judged by the score of another task than its first row's."""

import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults, value
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.reporter import SilentReporter
from tests.tasks.scenes import TINY, scene_settings


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = tmp_path_factory.mktemp("runs")
    plain = ["preset=digits", *TINY[2:], "data.limit=64", "epochs=1", f"store={store}"]
    made = [compose_settings(plain), *(scene_settings("segmentation", store, "epochs=1", f"seed={s}") for s in (0, 1))]
    return [carry_out(settings, SilentReporter(), "bot-train") for settings in made]


def test_rows_are_judged_by_the_score_of_the_rows_that_are_compared(records):
    classifier, one, other = records
    arms = tuple(
        SavedArm(label=label, runs={"0": record.id}, compare_to=against)
        for label, record, against in (("P", classifier, None), ("R", one, None), ("T", other, "R"))
    )
    study = SavedStudy(name="s", command="bot-sweep", seeds=(0,), arms=arms, whole={}, columns=("mean_iou",))
    found = StudyResults(study, {arm.label: {0: record} for arm, record in zip(arms, records, strict=True)})
    assert found.first == "mean_iou"
    assert found.values("P") == {}
    assert found.values("T") == {0: other.metrics["last"].others["mean_iou"]}
    assert found.differences("T")[0] == pytest.approx(value(other, "mean_iou") - value(one, "mean_iou"))
    assert found.columns()[0] == "mean_iou"
