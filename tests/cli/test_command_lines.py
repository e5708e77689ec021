"""A part of what ``scripts/torture command_lines`` runs: every command line ends in status 0 or 2."""

from tests.cli.command_lines import command_lines, judge


def test_every_command_line_ends_in_status_0_or_2(unchecked):
    judged = [(line, *judge(line)) for line in command_lines(25, 0)]
    assert [(line, error) for line, status, error, _ in judged if status not in (0, 2)] == []
