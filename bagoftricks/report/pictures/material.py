"""Material of the pictures of a study: finite scores by arm and seed, comparisons, and the setting in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bagoftricks.registry import score_names
from bagoftricks.report.dawnbench import NO_MEASURE, Measure
from bagoftricks.report.differences import differing
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults
from bagoftricks.report.table import record_rows
from bagoftricks.statistics.paired import Comparison
from bagoftricks.store.record import Record

EFFECTS_INSTEAD = "a factorial design tests effects and compares no arms: type plot=effects"


@dataclass(frozen=True)
class Material:
    """Results of a study whose top-1 are numbers; ``unusable`` names the others."""

    results: StudyResults
    unusable: tuple[str, ...]

    @property
    def arms(self) -> tuple[SavedArm, ...]:
        return self.results.study.arms

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.results.study.seeds

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Comparisons by label, those of the study's table."""
        return self.results.comparisons

    @property
    def target(self) -> float | None:
        """Share of right answers that arms are timed to, None without one."""
        return self.results.measure.target

    @property
    def key(self) -> str:
        """Key of what arms are compared in."""
        return self.results.score.key

    @property
    def unit(self) -> str:
        """Unit of differences."""
        found = self.results.score.unit
        return {"points": "percentage points", "s": "seconds"}.get(found, found)

    @property
    def unit_in_words(self) -> str:
        return self.unit if self.results.score.higher_is_better else f"{self.unit}; less is better"

    @property
    def name(self) -> str:
        """Name of what arms are compared in, without its unit."""
        return self.results.score.name

    @property
    def axis(self) -> str:
        """Name with the unit, for an axis."""
        return f"{self.name} ({'%' if self.results.score.unit == 'points' else self.unit})"

    def values(self, label: str, key: str = "") -> dict[int, float]:
        """Return a result or cost of an arm by seed, as far as it is known and finite; by default what is compared."""
        found = self.results.values(label, key or self.key)
        return {seed: number for seed, number in found.items() if math.isfinite(number)}

    def differences(self, label: str) -> dict[int, float]:
        """Return by seed the distance of an arm from the one it is compared with."""
        return self.results.differences(label, self.key)

    def absence(self, arm: SavedArm) -> str:
        """Return why an arm has no comparison."""
        if arm.quoted:
            return "quoted, without a run"
        if arm.needs:
            return f"needs {', '.join(arm.needs)}"
        for label in (arm.label, arm.compare_to or ""):
            if not self.results.records.get(label):
                why = self.results.unrun(label)
                return why if label == arm.label else f"{label}: {why}"
        return "not reached by all runs" if self.target is not None else "no comparison"

    @property
    def first(self) -> str:
        """Name of the first score of the task."""
        return score_names().get(self.results.first, self.results.first)

    @property
    def opening(self) -> str:
        """Name of the first score, as it begins a sentence."""
        return self.first[:1].upper() + self.first[1:]

    def title(self, kind: str) -> str:
        return f"{self.results.title}: {kind}"

    def setting(self) -> str:
        """Return data, network, length, device and seeds in one sentence, with the runs that are left out."""
        about: list[set[str]] = [
            {
                f"{r.data.name} ({r.data.train_images:,} + {r.data.val_images:,} images)"
                for r in self.results.every_record
            },
            {f"{r.model['name']} at {r.data.image_size} pixels" for r in self.results.every_record},
            {f"{r.epochs} epochs" for r in self.results.every_record},
            {r.environment.device for r in self.results.every_record},
        ]
        parts = [" or ".join(sorted(found)) for found in about]
        left = f" Left out: {'; '.join(self.unusable)}." if self.unusable else ""
        return f"{', '.join(parts)}; seeds {', '.join(map(str, self.seeds))}.{left}"


def material(results: StudyResults) -> Material:
    """Return the usable records of a study."""
    records: dict[str, dict[int, Record]] = {}
    unusable = []
    first = score_names().get(results.first, results.first)
    for arm in results.study.arms:
        found = results.records.get(arm.label, {})
        records[arm.label] = {s: r for s, r in sorted(found.items()) if math.isfinite(r.score())}
        lost = [str(seed) for seed in sorted(found) if seed not in records[arm.label]]
        unusable += [f"{arm.label}, seed {', '.join(lost)}, whose {first} is not a number"] if lost else []
    return Material(replace(results, records=records), (*unusable, *results.damaged))


def runs_as_study(records: Sequence[Record], measure: Measure = NO_MEASURE) -> StudyResults:
    """Return runs of no study as arms that are compared with nothing: one for all seeds of a recipe."""
    rows = [next(row for row in record_rows(record) if row.weights == record.reported) for record in records]
    columns = [c for c in differing([r.facts for r in rows], [(r.shown, r.weights) for r in rows]) if c.key != "seed"]
    found: dict[str, dict[int, Record]] = {}
    for row, record in zip(rows, records, strict=True):
        told = ", ".join(f"{column.key}={column.show(row.facts.get(column.key))}" for column in columns)
        label = f"{row.shown} ({told})" if told else row.shown
        if record.seed in found.get(label, {}):
            label = f"{label}, run {record.id}"
        found.setdefault(label, {})[record.seed] = record
    arms = tuple(SavedArm(label=label) for label in found)
    seeds = tuple(sorted({record.seed for record in records}))
    return StudyResults(SavedStudy(name="runs", command="", seeds=seeds, arms=arms, whole={}), found, measure)


def reference_text(compared: Mapping[str, Comparison], arms: Sequence[SavedArm]) -> str:
    """Return what the arms are compared with in words; an empty text if it takes a name for each arm."""
    names = {made.against for made in compared.values()}
    if len(names) == 1:
        return names.pop()
    above = {arm.label: before.label for before, arm in pairwise(arms)}
    return "the row above" if all(above.get(label) == made.against for label, made in compared.items()) else ""


def seeds_text(counts: Sequence[int]) -> str:
    """Return ``n = 3 seeds``, or a range; that of one seed says what it lacks."""
    least, most = min(counts), max(counts)
    if most == 1:
        return "n = 1 seed: no interval, no conclusion"
    return f"n = {most} seeds" if least == most else f"n = {least} to {most} seeds"
