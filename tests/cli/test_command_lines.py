"""A part of what ``scripts/torture command_lines`` runs: every command line ends in status 0 or 2."""

import pytest

from tests.cli.command_lines import command_lines, judge


@pytest.mark.parametrize("seed", [pytest.param(0), pytest.param(1, marks=pytest.mark.slow)])
def test_every_command_line_ends_in_status_0_or_2(seed):
    judged = [(line, *judge(line)) for line in command_lines(200 if seed else 25, seed)]
    assert [(line, error) for line, status, error, _ in judged if status not in (0, 2)] == []
