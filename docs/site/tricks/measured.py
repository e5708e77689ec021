"""Effects of a trick in the committed studies, read from results/**/table.json."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bagoftricks.report.study_parts import SavedArm, SavedStudy, read_study
from bagoftricks.statistics.effects import Effect
from bagoftricks.statistics.paired import Comparison
from bagoftricks.store.json_fields import from_json

ROOT = Path(__file__).parents[3]
UNIT = re.compile(r"(?:differences|effects) in (?P<unit>[^,:;]+)")
SCALE = ("data: ", "network: ", "epochs: ")
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """Effect of one trick, alone or with others, in one study."""

    what: str  # was switched on or off, and against what
    alone: bool
    estimate: float
    low: float | None
    high: float | None
    verdict: str
    table: "Table"


@dataclass(frozen=True)
class Table:
    """Committed study with the parts of its table that a page needs."""

    folder: str  # below results/
    study: SavedStudy
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...]
    unit: str
    scale: str

    def other_settings(self, label: str, against: str) -> dict[str, str]:
        """Return the settings that one arm has and another has not, in words: by trick, or by setting."""
        settings = {arm["label"]: [str(line) for line in arm.get("settings", ())] for arm in self.study.whole["arms"]}
        own = [line for line in settings[label] if line not in settings[against]]
        of_trick = {line: found[1] for line in own if (found := re.match(r"tricks\.(\w+)\.", line))}
        return {of_trick.get(line, line): f"`{line}`" for line in own}


def findings_of(trick: str) -> list[Finding]:
    """Return what the committed studies found about a trick: alone first, then with others."""
    found = [finding for table in tables() for finding in (*_compared(trick, table), *_effects(trick, table))]
    return sorted(found, key=lambda finding: not finding.alone)


@cache
def tables(root: Path = ROOT) -> tuple[Table, ...]:
    """Return the committed tables in the order of their folders."""
    return tuple(read_table(file, root / "results") for file in sorted((root / "results").rglob("table.json")))


def read_table(file: Path, results: Path) -> Table:
    """Return a table that ``bot-table format=json`` wrote. Raises ValueError for another file."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    notes = [str(note) for note in whole["notes"]]
    units = [found["unit"] for note in notes if (found := UNIT.search(note))]
    study = read_study(whole["study"])
    scale = [note.removeprefix("network: ").removeprefix("data: ") for note in notes if note.startswith(SCALE)]
    return Table(
        folder=file.parent.relative_to(results).as_posix(),
        study=study,
        comparisons=tuple(_known(Comparison, row["comparison"]) for row in whole["rows"] if row["comparison"]),
        effects=tuple(_known(Effect, effect) for effect in whole["effects"]),
        unit=units[0] if units else "points",
        scale=", ".join([*scale, f"{len(study.seeds)} seeds"]),
    )


def _known(kind: type[T], values: dict[str, Any]) -> T:
    """Read the fields that a dataclass has; the table adds a few."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return from_json(kind, {name: value for name, value in values.items() if name in names})


def _compared(trick: str, table: Table) -> Iterator[Finding]:
    """Yield the differences of arms in which the trick changes."""
    arms = {arm.label: arm for arm in table.study.arms}
    for found in table.comparisons:
        ours, theirs = arms.get(found.label), arms.get(found.against)
        if found.difference is None or ours is None or theirs is None:
            continue
        changes = {**changes_between(ours, theirs), **table.other_settings(found.label, found.against)}
        if trick in changes:
            yield Finding(
                what="; ".join(changes.values()),
                alone=len(changes) == 1,
                estimate=found.difference,
                low=found.low,
                high=found.high,
                verdict=found.verdict,
                table=table,
            )


def _effects(trick: str, table: Table) -> Iterator[Finding]:
    """Yield the main effect of the trick, and its interactions that are decided."""
    for effect in table.effects:
        named = [re.findall(r"\w+", re.sub(r"\(.*?\)", "", label)) for label in effect.tricks]
        switched = [name for names in named for name in names]
        if trick not in switched or effect.estimate is None or (len(named) > 1 and not effect.stands):
            continue
        aliases = [" x ".join(alias.tricks) or "the mean" for alias in effect.aliased_with]
        what = " x ".join(f"`{name}`" for name in effect.tricks)
        yield Finding(
            what=(f"effect of {what}" if len(effect.tricks) == 1 else f"interaction {what}")
            + (f", or of {', '.join(aliases)}" if aliases else ""),
            alone=len(switched) == 1,
            estimate=effect.estimate,
            low=effect.low,
            high=effect.high,
            verdict=effect.verdict,
            table=table,
        )


def changes_between(ours: SavedArm, theirs: SavedArm) -> dict[str, str]:
    """Return how the first arm differs from the second, in words: by trick."""
    changes: dict[str, str] = {}
    for name in [*ours.tricks, *theirs.tricks]:
        if name not in theirs.tricks:
            changes[name] = f"with `{name}`"
        elif name not in ours.tricks:
            changes[name] = f"without `{name}`"
        elif ours.tricks[name] != theirs.tricks[name]:
            changes[name] = f"`{name}` with {_values(ours.tricks[name])} for {_values(theirs.tricks[name])}"
    return changes


def _values(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items()) or "defaults"
