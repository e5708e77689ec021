"""Shell commands before the runs of a job: one that fails ends the job, which then fails instead of training."""

import re
import shlex
from collections.abc import Sequence

FAILED = "engine.setup failed: "  # last line of the log of such a job, before the command
PLACE = re.compile(r"^\S+: (?:line )?\d+: ")  # of a shell's complaint, as /bin/sh: 1:


def guarded(setup: Sequence[str]) -> list[str]:
    """Return the commands, each with a line after it that ends the job if it failed."""
    lines = []
    for command in setup:
        end = f"{{ echo {shlex.quote(FAILED + one_line(command))} >&2; exit 1; }}"
        lines += [command, f"test $? = 0 || {end}"]
    return lines


def setup_failure(log: str) -> str:
    """Return why a job never began, by the end of its log: the complaint or the command; empty if it did begin."""
    *before, last = ["", *log.splitlines()]
    if not last.startswith(FAILED):
        return ""
    command, complaint = last.removeprefix(FAILED), PLACE.sub("", before[-1])
    return FAILED + (complaint if command.split()[0] in complaint else command)


def one_line(text: str) -> str:
    return " ".join(text.split()) or "(empty)"
