"""docs/output.md names the keys of format=json: those of today, so that a renamed key fails here."""

import json
import re
from dataclasses import fields
from pathlib import Path

from bagoftricks.report.plan import Outlook, PlanRow, plan_table
from bagoftricks.report.replication import RepeatedRow, RepeatedStudy
from bagoftricks.report.rows import CostRow, EvaluatedRow
from bagoftricks.report.run_diff import RunDiff
from bagoftricks.report.runs import ListedRun
from bagoftricks.report.study import study_report
from bagoftricks.report.table import record_rows, render
from bagoftricks.run.inspection import Inspection
from bagoftricks.store.record import NetworkCost, Record, Scores
from bagoftricks.store.store import Store
from bagoftricks.study.plan import Plan
from tests.store.test_store import record, robustness

DOCUMENT = Path(__file__).parents[2] / "docs" / "output.md"
SCORES = Scores(top1=1.0, top5=2.0, loss=3.0, ece=4.0, soft_top1=5.0)
COSTS = {"epoch_seconds": None, "warmup_seconds": 1.0, "compile_seconds": 1.0, "teacher_seconds": 1.0}


def whole_rows():
    """The rows of a run with everything that a row can have."""
    few = {"count": 1, "min": 1.0, "q1": 1.0, "median": 1.0, "q3": 1.0, "max": 1.0}
    cost = {**COSTS, "epoch_seconds": few, "teacher_params": 1, "teacher_macs": 1, "measured_by": "b"}
    scores = robustness({"mce": 1.0, "clean_error": 5.0, "errors": {"fog": [1.0] * 5, "snow": [1.0] * 5}})
    config = {"data": {}, "image_size": 8}
    return record_rows(
        record(cost=cost, metrics={"ece": 1.0, "soft_top1": 1.0}, robustness={"c": scores}, config=config)
    )


def study_values(tmp_path):
    saved = {"name": "s", "command": "c", "seeds": [0], "arms": [{"label": "a", "runs": {}}]}
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/s.json").write_text(json.dumps(saved))
    return json.loads(study_report(Store(tmp_path), "s", "json"))


def keys_of_today(tmp_path):
    (run,) = json.loads(render(whole_rows(), (), "json"))
    study = study_values(tmp_path)
    plan = json.loads(plan_table(Plan((), (), (), {}, {}), {}, Outlook(), "json"))
    cost = NetworkCost(**{field.name: 1 for field in fields(NetworkCost)})
    bench = CostRow(label="n", image_size=8, cost=cost, published={"params": 1.0}, note="n").values()
    made = {"model": "m", "data": "d", "weights": "last", "scores": SCORES, "id": "i", "label": "l"}
    evaluated = EvaluatedRow(**made, image_size=8, images=1, params=1, macs=1, details={"a": 1}).values()
    return {
        "bot-table": run,
        "bot-table study=, bot-sweep": study,
        "... rows": study["rows"][0],
        "bot-table compare=": [field.name for field in fields(RepeatedStudy)],
        "... means and differences": [field.name for field in fields(RepeatedRow)],
        "bot-sweep plan=true": plan,
        "... runs": [field.name for field in fields(PlanRow)],
        "bot-train": [field.name for field in fields(Record)],
        "bot-eval": evaluated,
        "bot-bench": bench,
        "bot-data": [field.name for field in fields(Inspection)],
        "bot-runs": [field.name for field in fields(ListedRun) if field.name != "facts"],
        "bot-runs diff": [field.name for field in fields(RunDiff)],
    }


def test_the_keys_of_json_are_those_of_the_document(tmp_path):
    part = DOCUMENT.read_text(encoding="utf-8").partition("<!-- keys:")[2]
    documented = {
        re.sub("`", "", first).strip(): set(re.findall(r"`(\w+)`", last))
        for first, _, last in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", part, re.MULTILINE)[1:]
    }
    assert documented == {name: set(keys) for name, keys in keys_of_today(tmp_path).items()}


if __name__ == "__main__":
    import tempfile

    for name, keys in keys_of_today(Path(tempfile.mkdtemp())).items():
        print(f"| {name} | {' '.join(f'`{key}`' for key in keys)} |")
