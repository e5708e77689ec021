"""Rows that need the weights of other rows of the same study, which are trained first.

A row may learn from another (``tricks.distill.teacher=row:E5``) or start from its weights (``model.weights=row:E5``). A
run's id depends on these weights, so such a row has no id before the other has finished. The weights are those of the
other row's run with the study's first seed, for all seeds: its own seed is no noise between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bagoftricks.errors import UserError
from bagoftricks.study.arms import Tricks
from bagoftricks.study.rows import find_row, listed_rows

ROW, TEACHER, INITIAL = "row:", "teacher", "model.weights"


@dataclass(frozen=True)
class RowSource:
    """Another arm whose weights an arm needs: by which setting, as it was typed, that arm, and which of its weights."""

    key: str  # tricks.distill.teacher, or model.weights
    typed: str
    label: str
    weights: str = ""  # @ema
    source: str = ""  # ``run:ID`` of a teacher or the file of initial weights, once that run is finished


def row_source(key: str, typed: str, labels: Sequence[str]) -> RowSource:
    """Return the arm that ``row:E5`` or ``row:E5@ema`` names. Raises UserError if there is no such row."""
    row, at, weights = typed.removeprefix(ROW).partition("@")
    place = find_row(f"{key}={ROW[:-1]}", row, labels)
    if place is None:
        raise UserError(f"{key}={typed}: there is no such row ({listed_rows(labels)})")
    return RowSource(key, typed, labels[place], at + weights)


def taught_by_row(tricks: Tricks) -> tuple[str, str] | None:
    """Return the setting of a teacher that is a row, and that teacher as it is typed; None without one."""
    found = [(f"tricks.{name}.{TEACHER}", str(params.get(TEACHER, ""))) for name, params in tricks.items()]
    return next(((key, typed) for key, typed in found if typed.startswith(ROW)), None)


def started_from_row(settings: Sequence[str]) -> tuple[str, str] | None:
    """Return the setting of initial weights that are a row's, and that row as it is typed; None without one."""
    found = [value.strip("'\"") for key, _, value in (text.partition("=") for text in settings) if key == INITIAL]
    return (INITIAL, found[-1]) if found and found[-1].startswith(ROW) else None


def sources_first(labels: Sequence[str], sources: Mapping[str, Sequence[RowSource]]) -> list[str]:
    """Return the labels so that each comes after its sources. Raises UserError for rows that need each other."""
    order: dict[str, None] = {}

    def add(label: str, way: tuple[str, ...]) -> None:
        for source in () if label in order else sources.get(label, ()):
            if source.label in (whole := (*way, label)):
                named = " <- ".join(f"'{each}'" for each in [*whole[whole.index(source.label) :], source.label])
                raise UserError(f"{source.typed}: rows need each other's weights ({named}): name another")
            add(source.label, whole)
        order.setdefault(label)

    for label in labels:
        add(label, ())
    return list(order)
