"""The committed studies: their tables are those of their records, and so is the table that the README opens with."""

from html import unescape
from pathlib import Path

import pytest

from bagoftricks.report.replication import compare_study, replication_text
from bagoftricks.report.study import draw_study
from bagoftricks.report.study_results import load_results
from bagoftricks.store.store import Store
from bagoftricks.study.lock import read_lock
from bagoftricks.study.plan import study_names

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "results/evidence"
STORES = sorted(path.parent for path in (ROOT / "results").glob("*/*/runs/studies"))


def cells(line):
    return [unescape(cell.strip()) for cell in line.strip().strip("|").split("|")]


@pytest.mark.parametrize("runs", STORES, ids=lambda path: path.parent.name)
def test_a_committed_table_is_the_one_of_its_records(runs):
    (name,) = study_names(Store(runs))
    shown = draw_study(load_results(Store(runs), name), "markdown")
    assert (runs.parent / "table.md").read_text() == f"{shown}\n"
    assert not Store(runs).damaged


def test_the_table_that_the_readme_opens_with_is_the_one_of_the_records():
    opening = (ROOT / "README.md").read_text().partition("## Start")[0]
    rows = [cells(line) for line in opening.splitlines() if line.startswith(("| +", "| baseline"))]
    results = load_results(Store(ROOT / "results/laptop/refinements/runs"), "laptop/refinements-laptop")
    drawn = [cells(line) for line in draw_study(results, "markdown").splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(drawn) == 6
    for row, table in zip(rows, drawn, strict=True):
        assert set(row) - {"baseline"} <= set(table) | {"baseline, step decay"}


def test_the_effects_of_the_committed_fraction_repeat_with_other_seeds():
    first, again = (
        load_results(Store(EVIDENCE / name / "runs"), name) for name in ("eight-tricks", "eight-tricks-again")
    )
    found = {effect.tricks: effect for effect in again.effects.rows}
    stand = [effect for effect in first.effects.rows if effect.stands]
    assert len([effect for effect in stand if len(effect.tricks) == 1]) == 7
    assert all(effect.estimate * found[effect.tricks].estimate > 0 for effect in stand)
    assert set(first.study.seeds).isdisjoint(again.study.seeds)
    lock = read_lock("compare", str(EVIDENCE / "eight-tricks/table.json"))
    text = replication_text(compare_study(lock, again), "markdown")
    assert (EVIDENCE / "eight-tricks-again/repeat.md").read_text() == f"{text}\n"


def test_the_committed_pictures_are_small_and_those_of_the_readme_are_there():
    files = list((ROOT / "results").glob("**/*.svg"))
    assert sum(file.stat().st_size for file in files) < 2**20
    assert (
        "results/laptop/refinements/figures/laptop--refinements-laptop-forest.svg" in (ROOT / "README.md").read_text()
    )
    assert len(STORES) >= 4
