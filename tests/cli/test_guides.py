"""The commands of the tutorial and the how-to guides run as they stand, in a folder of small made-up data."""

import re

import pytest

from tests.cli.document_commands import ROOT, failures, fill_folder, other_lines, sections, write_examples

GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
ELSEWHERE = {"cluster": "tests/engines", "fine-tune": "tests/cli/test_readme.py, as its ResNet-50 takes minutes"}
RUN = [
    pytest.param(path, id=path.stem, marks=() if path.stem == "tutorial" else pytest.mark.long)
    for path in GUIDES
    if path.stem not in ELSEWHERE and sections(path)
]


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("path", RUN)
def test_the_commands_of_a_guide_run_as_they_stand(bot, tmp_path, path):
    fill_folder(tmp_path)
    write_examples(path, tmp_path)
    first = [["bot-train"], ["bot-train", "seed=1"], ["bot-sweep", "design=one_at_a_time", "tricks=[cosine,mixup]"]]
    commands = [
        words for section in sections(path).values() for words in section if "hydra/sweeper=optuna" not in words
    ]
    assert failures(bot, [*first, *commands], seeds=2) == []  # pictures need two


def test_every_other_line_of_the_guides_is_known():
    known = r"python -c .import torch, torchvision;|python3 -m venv|\. \.venv/bin/activate|pip install|python -m pytest"
    assert [line for path in GUIDES for line in other_lines(path) if not re.match(known, line)] == []
