"""The first study: bot-sweep experiment=demo, and the page that a sweep leaves."""

import re

import pytest

from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.report.page.whole_page import is_ours
from tests.cli.document_commands import ROOT

SMALL = ("epochs=1", "data.limit=100", "runtime.progress=false", "slots=0")
STACK = ("bot-sweep", "design=stack", "tricks=[cosine]", "seeds=1", *SMALL)


def test_the_demo_is_thirty_runs_on_the_digits_that_come_with_the_package(bot):
    planned = bot("bot-sweep", "experiment=demo", "plan=true", "format=commands")
    commands = planned.out.splitlines()
    assert len(commands) == len(set(commands)) == 30
    assert all("data=digits" in line for line in commands)


def test_make_demo_is_this_study():
    assert "$(VENV)/bin/bot-sweep experiment=demo slots=2\n" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(("typed", "seeds", "page"), [([], 5, "true"), (["seeds=2", "page=false"], 2, "false")])
def test_what_is_typed_goes_before_what_the_experiment_brings(typed, seeds, page):
    sweep = parse(["experiment=demo", *typed])
    assert (len(sweep.seeds), sweep.page) == (seeds, page)


def test_the_help_of_an_experiment_leaves_out_the_seeds_that_it_brings(bot):
    assert bot("bot-sweep", "--help", "demo").out.splitlines()[-1].strip() == "bot-sweep experiment=demo scale=laptop"
    assert " seeds=3" in bot("bot-sweep", "--help", "laptop/refinements").out.splitlines()[-1]


def test_an_experiment_without_seeds_has_one():
    assert parse(["experiment=laptop/refinements"]).seeds == (0,)


def test_a_sweep_says_the_command_of_its_page_and_the_command_writes_it(bot, tmp_path):
    done = bot(*STACK)
    command = re.search(r"bot-sweep: (bot-report .*) writes its page", done.err).group(1)
    written = bot(*command.split())
    assert (written.status, is_ours((tmp_path / "stack.html").read_bytes()[:4096])) == (0, True)


def test_a_sweep_writes_the_page_that_it_is_told_to(bot, tmp_path):
    assert bot(*STACK, "page=true").err.splitlines()[-1].startswith("bot-sweep: page: results/stack/page.html: 1 study")
    assert bot(*STACK, "page=mine.html").err.splitlines()[-1].startswith("bot-sweep: page: mine.html: 1 study, 2 runs")
    assert is_ours((tmp_path / "results/stack/page.html").read_bytes()[:4096])
    assert is_ours((tmp_path / "mine.html").read_bytes()[:4096])


@pytest.mark.parametrize(("file", "why"), [("notes.html", "is no page of bot-report"), ("page.txt", "a page is HTML")])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_trained(bot, tmp_path, file, why):
    (tmp_path / "notes.html").write_text("mine")
    done = bot(*STACK, f"page={file}")
    assert (done.status, why in done.err, f"page={file}" in done.err) == (2, True, True)
    assert not list(tmp_path.glob("results/runs/*/record.json"))


@pytest.mark.slow
def test_the_demo_decides_something_and_leaves_something_open(bot, tmp_path):
    done = bot("bot-sweep", "experiment=demo", "slots=0", "runtime.progress=false", "runtime.threads=1")
    assert done.status == 0, done.err
    assert done.err.splitlines()[-1].startswith("bot-sweep: page: results/demo-laptop/page.html: 1 study, 30 runs")
    assert is_ours((tmp_path / "results/demo-laptop/page.html").read_bytes()[:4096])
    verdicts = [re.search(r"helps|hurts|undecided", line) for line in done.out.splitlines() if line.startswith("+ ")]
    assert len(verdicts) == 5
    assert {"undecided"} < {found.group() for found in verdicts if found}
