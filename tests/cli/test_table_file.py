"""bot-table file=: the suffix chooses the format, and what cannot be written is one line."""

import json

import pandas as pd
import pytest

from bagoftricks.report.table_file import TABLE_SUFFIXES
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import Plan, PlannedRun, save_study
from tests.store.test_store import record

BEGINNINGS = {
    ".txt": "run  ",
    ".md": "| run ",
    ".tex": "\\begin{tabular}",
    ".csv": "label,",
    ".json": "[",
    ".html": "<!DOCTYPE html>\n<html lang",
}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "results/runs")
    runs = []
    for label, run_id, top1 in (("plain", "a", 70.0), ("more", "b", 71.0)):
        made.write_record(record(id=run_id, metrics={"top1": top1}, config={"data": {}}))
        runs.append(PlannedRun(label, 0, run_id, None, ""))
    arms = (Arm(label="plain"), Arm(label="more", compare_to="plain"))
    save_study(made, "s", Plan(arms, (0,), tuple(runs), {}, {}), {"command": "bot-sweep"})
    return made


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_the_suffix_chooses_the_format(bot, tmp_path, store, suffix):
    done = bot("bot-table", f"file=table{suffix}")
    assert (done.status, done.out, done.err) == (0, "", f"bot-table: wrote table{suffix}\n")
    assert (tmp_path / f"table{suffix}").read_text().startswith(BEGINNINGS[suffix])
    assert BEGINNINGS.keys() | {".parquet"} == TABLE_SUFFIXES.keys()


def test_a_study_is_written_with_its_runs(bot, tmp_path, store):
    assert bot("bot-table", "study=s", "file=s.json").status == 0
    assert json.loads((tmp_path / "s.json").read_text())["rows"][1]["runs"]["comparison"] == ["b", "a"]


def test_parquet_has_the_rows_that_are_asked_for(bot, tmp_path, store):
    assert bot("bot-table", "where=top1>70", "file=runs.parquet").status == 0
    assert pd.read_parquet(tmp_path / "runs.parquet")["id"].tolist() == ["b"]
    assert bot("bot-table", "study=s", "sort=-top1", "limit=1", "file=arms.parquet").status == 0
    frame = pd.read_parquet(tmp_path / "arms.parquet")
    assert frame[["arm", "difference_points"]].values.tolist() == [["more", 1.0]]
    assert frame.attrs["command"] == "bot-sweep"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["file=table.xls"], "must end in .txt"),
        (["file=table.md", "format=json"], "is markdown, not format=json"),
        (["file=no/such/x.md"], "file=no/such/x.md: cannot be written"),
        (["format=parquet"], "format=parquet: must be one of"),
    ],
)
def test_what_cannot_be_written_is_one_line(bot, store, tmp_path, typed, message):
    (tmp_path / "no").write_text("a file")
    done = bot("bot-table", *typed)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_an_empty_store_is_an_empty_list(bot, tmp_path):
    (tmp_path / "results/runs").mkdir(parents=True)
    assert json.loads(bot("bot-table", "format=json").out) == []


@pytest.mark.parametrize("command", [["bot-runs"], ["bot-runs", "show", "b"], ["bot-runs", "diff", "a", "b"]])
def test_pages_of_runs_are_html_too(bot, store, command):
    shown = bot(*command, "format=html").out
    assert shown.count("<table>") == shown.count("</table>") > 0
    assert "<h2>" in shown or 'data-runs="a"' in shown
