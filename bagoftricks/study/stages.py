"""Teachers that are rows of the same study, as ``tricks.distill.teacher=row:E5``, which are trained first.

A run's id depends on the weights of its teacher, so a student has no id before its teacher has finished. The teacher is
the run of its row with the study's first seed, for the students of all seeds: its own seed is no noise between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bagoftricks.errors import UserError
from bagoftricks.study.arms import Tricks
from bagoftricks.study.rows import find_row, listed_rows

ROW, TEACHER = "row:", "teacher"  # the hyper-parameter


@dataclass(frozen=True)
class RowTeacher:
    """Teacher of an arm that is another arm: as it was typed, that arm, and which of its weights (``@ema``)."""

    typed: str
    label: str
    weights: str = ""
    source: str = ""  # ``run:ID`` once that run is finished


def row_teacher(trick: str, typed: str, labels: Sequence[str]) -> RowTeacher:
    """Return the teacher that ``row:E5`` or ``row:E5@ema`` names. Raises UserError if there is no such row."""
    row, at, weights = typed.removeprefix(ROW).partition("@")
    key = f"tricks.{trick}.{TEACHER}"
    place = find_row(f"{key}={ROW[:-1]}", row, labels)
    if place is None:
        raise UserError(f"{key}={typed}: there is no such row ({listed_rows(labels)})")
    return RowTeacher(typed, labels[place], at + weights)


def taught_by_row(tricks: Tricks) -> tuple[str, str] | None:
    """Return the trick whose teacher is a row, and that teacher as it is typed; None without one."""
    found = [(name, str(params.get(TEACHER, ""))) for name, params in tricks.items()]
    return next(((name, typed) for name, typed in found if typed.startswith(ROW)), None)


def teachers_first(labels: Sequence[str], teachers: Mapping[str, RowTeacher]) -> list[str]:
    """Return the labels so that each comes after its teacher. Raises UserError for rows that teach each other."""
    order: dict[str, None] = {}
    for label in labels:
        way = [label]
        while (teacher := teachers.get(way[-1])) is not None and teacher.label not in order:
            if teacher.label in way:
                named = " <- ".join(f"'{each}'" for each in [*way[way.index(teacher.label) :], teacher.label])
                raise UserError(f"{teachers[way[-1]].typed}: rows are each other's teachers ({named}): name another")
            way.append(teacher.label)
        order |= dict.fromkeys(reversed(way))
    return list(order)
