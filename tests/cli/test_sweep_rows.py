"""Rows of an experiment on the command line: chosen ones, and those that are only quoted."""

import json

import pytest

from tests.cli.test_commands import FAST, one_line

TABLE = """\
title: Mine
source: me
reference: mine.csv
columns: [top1, params]
scales: {laptop: [preset=digits]}
rows:
  - {label: "E0: base", tricks: {}, answers: base}
  - {label: "E1: + mixup", tricks: {mixup: {}}}
  - {label: "E2: + cosine", tricks: {mixup: {}, cosine: {}}}
  - {label: theirs, quoted: true, answers: theirs}
"""
CSV = "row,top1,params,source,note\nbase,75.5,25e6,my lab,\ntheirs,84.5,66e6,their lab,\n"
SWEEP = ["experiment=mine.yaml", "slots=0", *FAST]


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "mine.csv").write_text(CSV, encoding="utf-8")


def test_a_quoted_row_has_published_numbers_and_dashes_and_no_run(bot, mine):
    done = bot("bot-sweep", *SWEEP)
    assert "3 runs: 0 finished before, 3 to train" in done.err
    shown = bot("bot-table", "study=mine.yaml-laptop", "format=csv").out.splitlines()[-1]
    assert shown.startswith("theirs,0,,")
    row = next(line for line in done.out.splitlines() if line.startswith("theirs "))
    assert row.split() == ["theirs", "-", "84.50", "-", "66.000"]
    assert "not run" not in done.out
    assert " n " not in done.out.partition("paper's numbers")[0]  # each row with runs has all seeds
    page = bot("bot-table", "study=mine.yaml-laptop", "format=json")
    rows = json.loads(page.out)["rows"]
    assert [row["quoted"] for row in rows] == [False, False, False, True]


def test_a_quoted_row_travels_with_its_study(bot, mine):
    assert bot("bot-sweep", *SWEEP, "rows=E0,theirs").status == 0
    assert bot("bot-report", "study=mine.yaml-laptop-E0+theirs", "file=page.html").status == 0
    there = bot("bot-sweep", "from=page.html", "slots=0", "store=there")
    assert (there.status, "84.50" in there.out) == (0, True)
    assert "could not run there" not in there.err


def test_chosen_rows_are_compared_with_those_that_are_there(bot, mine):
    done = bot("bot-sweep", *SWEEP, "rows=E0,E2")
    assert "2 runs: 0 finished before, 2 to train" in done.err
    assert "'E2: + cosine' is compared with 'E0: base', for 'E1: + mixup' is left out" in done.out
    assert "2 of 4 rows (rows=E0,E2)" in done.err
    assert bot("bot-table", "study=mine.yaml-laptop-E0+E2").status == 0
    more = bot("bot-sweep", *SWEEP, "skip=E2")
    assert "2 runs: 1 finished before, 1 to train" in more.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["rows=E7", *SWEEP], "rows=E7: there is no such row"),
        (["rows=", *SWEEP], "rows=: names no row"),
        (["design=stack", "tricks=[mixup]", "rows=E1"], "rows= chooses rows of experiment=: leave it out"),
        (["design=stack", "tricks=[mixup]", "skip=E1"], "leave it out or type skip=true"),
        (["from=page.html", "skip=E1"], "is the study's own"),
    ],
)
def test_rows_that_cannot_be_chosen_are_refused_in_a_line(bot, mine, arguments, why):
    assert why in one_line(bot("bot-sweep", *arguments))


def test_a_setting_of_one_row_reaches_that_row_alone(bot, mine, tmp_path):
    typed = ["row.E2.tricks.mixup.alpha=0.7", "row.1.lr=0.3", "tricks.mixup.alpha=0.4"]
    commands = bot("bot-sweep", *SWEEP, *typed, "format=commands").out.splitlines()
    alphas = [[word for word in line.split() if word.startswith("tricks.mixup.alpha")] for line in commands]
    assert alphas == [[], ["tricks.mixup.alpha=0.4"], ["tricks.mixup.alpha=0.7"]]
    assert ["lr=0.3" in line.split() for line in commands] == [True, False, False]


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["row.E9.lr=1"], "row.E9.lr: there is no row 'E9' (1 E0: base;"),
        (["row.theirs.lr=1"], "row.theirs.lr: the row is quoted, and has no run"),
        (["row.E1=3"], "row.E1=3: names no row and setting of it; type row.E12.epochs=4"),
        (["row.E0.tricks.mixup.alpha=1"], "tricks.mixup.alpha=1.0: it has no trick 'mixup'; leave it out"),
    ],
)
def test_a_setting_of_no_row_is_refused(bot, mine, typed, why):
    done = bot("bot-sweep", *SWEEP, *typed)
    assert (done.status, why in done.err) == (2, True), done.err
