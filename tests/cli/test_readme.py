"""The commands of the README run as they stand, section by section (tests/cli/document_commands.py)."""

import re

import pytest

from tests.cli.document_commands import ROOT, failures, fill_folder, other_lines, sections

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    fill_folder(folder)
    return folder


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("title", sections(README))
def test_the_commands_of_the_readme_run_as_they_stand(bot, filled, monkeypatch, title):
    monkeypatch.chdir(filled)
    first = ["bot-train", f"seed={list(sections(README)).index(title)}"]  # there is a last run
    assert failures(bot, [first, *sections(README)[title]]) == []


def test_there_are_commands_of_each_kind_to_run():
    programs = {words[0] for lines in sections(README).values() for words in lines}
    assert programs >= {
        f"bot-{name}" for name in ("train", "sweep", "table", "eval", "bench", "data", "runs", "predict")
    }


def test_every_other_line_of_the_readme_is_known():
    """A line that is no command of ours is not run above: it sets up, and says so here."""
    known = r"make (demo|test)\b|python -c .import torch, torchvision;|\. \.venv/bin/activate|eval \"\$\(bagoftricks"
    assert [line for line in other_lines(README) if not re.match(known, line)] == []
