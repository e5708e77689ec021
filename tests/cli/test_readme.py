"""The commands of the README and of docs/commands.md run as they stand (tests/cli/document_commands.py)."""

import re

import pytest

from tests.cli.document_commands import ROOT, failures, fill_folder, other_lines, sections

README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "commands.md"
SECTIONS = [(path, title) for path in (README, COMMANDS) for title in sections(path)]
TAKEN = [  # the README's in CI, all of them before a release
    pytest.param(path, title, id=f"{path.stem}-{title}", marks=pytest.mark.long if path == COMMANDS else ())
    for path, title in SECTIONS
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    fill_folder(folder)
    return folder


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize(("path", "title"), TAKEN)
def test_the_commands_run_as_they_stand(bot, filled, monkeypatch, path, title):
    monkeypatch.chdir(filled)
    first = ["bot-train", f"seed={SECTIONS.index((path, title))}"]  # there is a last run
    assert failures(bot, [first, *sections(path)[title]]) == []


def test_there_are_commands_of_each_kind_to_run():
    programs = {words[0] for path, title in SECTIONS for words in sections(path)[title]}
    assert programs >= {
        f"bot-{name}" for name in ("train", "sweep", "table", "eval", "bench", "data", "runs", "predict", "report")
    }


@pytest.mark.parametrize("path", [README, COMMANDS], ids=lambda path: path.stem)
def test_every_other_line_is_known(path):
    """A line that is no command of ours is not run above: it sets up, and is named here."""
    known = r"make demo$|python -c .import torch, torchvision;"
    assert [line for line in other_lines(path) if not re.match(known, line)] == []


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 150
