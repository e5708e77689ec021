"""The committed studies: their tables are those of their records, and so is the table that the README opens with."""

import re
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
OPENING = (ROOT / "README.md").read_text(encoding="utf-8")
STORES = sorted(path.parent for path in (ROOT / "results").glob("*/*/runs/studies"))


def cells(line):
    return [unescape(cell.strip()) for cell in line.strip().strip("|").split("|")]


@pytest.mark.parametrize("runs", STORES, ids=lambda path: path.parent.name)
def test_a_committed_table_is_the_one_of_its_records(runs):
    (name,) = study_names(Store(runs))
    shown = draw_study(load_results(Store(runs), name), "markdown")
    assert (runs.parent / "table.md").read_text() == f"{shown}\n"
    assert not Store(runs).damaged


def rows_of(lines):
    """Return the rows of a Markdown table, each as a mapping from the head to the cell."""
    head, _, *rows = [cells(line) for line in lines if line.startswith("|")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_table_that_the_readme_opens_with_is_the_one_of_its_command():
    opening = OPENING.partition("\n## ")[0]
    store, study = re.search(r"bot-table store=(\S+) study=(\S+) 'columns=\[top1\]'", opening).groups()
    drawn = rows_of(draw_study(load_results(Store(ROOT / store), study), "markdown").splitlines())
    shown = rows_of(opening.splitlines())
    assert len(shown) == len(drawn) > 1
    assert shown == [{name: row[name] for name in shown[0]} for row in drawn]


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
    (picture,) = re.findall(r"!\[[^\]]+\]\((\S+\.svg)\)", OPENING)
    assert ROOT / picture in files
    assert len(STORES) >= 4
