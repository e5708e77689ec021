"""steps.csv: a row for each logged step of a run. Lines are whole at any moment but in a crash of the machine."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from bagoftricks.store.files import read_file, write_whole
from bagoftricks.system import AS_IT_IS, NO_LINKS, NOT_INHERITED

STEPS_CSV = "steps.csv"
STEPS_BYTES = 2**30
StepRows: TypeAlias = list[dict[str, str]]


def read_steps(path: Path) -> StepRows:
    """Return the rows of steps.csv as texts, without an unfinished last line; none without the file."""
    try:
        whole = read_file(path, STEPS_BYTES).rpartition(b"\n")[0].decode()
    except (OSError, UnicodeDecodeError):
        return []
    return list(csv.DictReader(io.StringIO(whole)))


def last_step(path: Path, column: str = "step") -> int:
    """Return the greatest step in a column of steps.csv or metrics.csv; 0 without one."""
    return max(map(_step, [row.get(column) for row in read_steps(path)]), default=0)


def _step(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


class StepsFile:
    """Open steps.csv of a run; an earlier process's rows after ``done`` steps are cut off."""

    def __init__(self, path: Path, columns: Sequence[str], done: int, *, before: Callable[[], object]) -> None:
        self.columns = list(columns)
        kept = [row for row in read_steps(path) if 0 < _step(row.get("step")) <= done]
        text = self._text([dict(zip(columns, columns, strict=True)), *kept])
        write_whole(path, lambda file: file.write_text(text, encoding="utf-8"), before=before)
        self.descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | AS_IT_IS | NO_LINKS | NOT_INHERITED)

    def write(self, row: Mapping[str, object]) -> None:
        """Append a row in one call, so that a process that is killed leaves whole lines."""
        os.write(self.descriptor, self._text([row]).encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def _text(self, rows: Sequence[Mapping[str, object]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
        return text.getvalue()
