"""A study whose rows are judged by the score of another task than its first row's."""

from dataclasses import replace

import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.report.run_page import changed_settings
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults, value
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.store.description import RunDescription
from tests.tasks.scenes import SMALL, scene_settings


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = tmp_path_factory.mktemp("runs")
    plain = ["preset=digits", *SMALL, "data.limit=64", "epochs=1", f"store={store}"]
    made = [compose_settings(plain), *(scene_settings("segmentation", store, "epochs=1", f"seed={s}") for s in (0, 1))]
    return [carry_out(settings, SilentReporter(), "bot-train") for settings in made]


def whole_study(records):
    """A classifier, and two rows of another task of which one is compared with the other."""
    arms = tuple(
        SavedArm(label=label, runs={"0": record.id}, compare_to=against)
        for label, record, against in zip("PRT", records, (None, None, "R"), strict=True)
    )
    study = SavedStudy(name="s", command="bot-sweep", seeds=(0,), arms=arms, whole={}, columns=("mean_iou",))
    return study, {arm.label: {0: record} for arm, record in zip(arms, records, strict=True)}


def test_rows_are_judged_by_the_score_of_the_rows_that_are_compared(records):
    _, one, other = records
    found = StudyResults(*whole_study(records))
    assert found.first == "mean_iou"
    assert found.values("P") == {}
    assert found.values("T") == {0: other.metrics["last"].others["mean_iou"]}
    assert found.differences("T")[0] == pytest.approx(value(other, "mean_iou") - value(one, "mean_iou"))
    assert found.columns() == ("mean_iou",)


def test_classifiers_among_the_rows_keep_their_accuracy(records):
    study, of = whole_study(records)
    study = replace(study, columns=("mean_iou", "top1"))
    assert StudyResults(study, of).columns() == ("mean_iou", "top1")
    alone = replace(study, arms=study.arms[1:])
    assert StudyResults(alone, {label: of[label] for label in "RT"}).columns() == ("mean_iou",)


def test_the_page_of_a_run_names_its_task_and_what_differs_from_the_tasks_defaults():
    config = {"task": {"name": "retrieval", "embedding": 1536, "scale": 16.0, "margin": 0.0}}
    about = RunDescription(
        id="1", tricks={}, data="digits", model={"name": "resnet18", "kind": "resnet"}, seed=0, epochs=1, config=config
    )
    assert changed_settings(about).keys() - {"data", "model", "seed"} == {"task", "task.scale"}
