"""Sentences of what a study found and could not find, and warnings; never more than its statistics say."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bagoftricks.report.study import difference, shown_effect
from bagoftricks.report.study_parts import StudyRow
from bagoftricks.report.study_results import StudyResults
from bagoftricks.statistics.paired import Comparison
from bagoftricks.store.record import Record
from bagoftricks.store.store import RunState, Store

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effect

ALPHA = 0.05  # of the verdicts
LONGEST_LIST = 5  # arms in a sentence
STATES = {
    RunState.MISSING: "not begun",
    RunState.RUNNING: "running",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "interrupted",
    RunState.DONE: "unreadable",
}


OTHER_VERDICTS = {
    "not distinguishable": "Not distinguishable with these seeds, which does not show that they do nothing",
    "one seed: no interval, no conclusion": "Run with one shared seed, so that nothing is concluded",
    "no shared seed: no difference": "Without a seed in common with what they are compared with",
    "identical": "Identical to what they are compared with in every seed",
    "not testable": "Not testable, for the seeds all differ by the same",
}


@dataclass(frozen=True)
class UnfinishedRun:
    """A run of a study without a readable record."""

    label: str
    seed: str
    id: str
    state: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}: {self.state}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class ReportedStudy:
    """A study of a page: its results, its runs without a record, and the beginning of the ids of its elements."""

    results: StudyResults
    unfinished: tuple[UnfinishedRun, ...] = ()
    anchor: str = "s1"

    @cached_property
    def rows(self) -> list[StudyRow]:
        """Rows of the study's table."""
        return self.results.rows()

    @property
    def wanted(self) -> int:
        """Number of runs that the study is made of."""
        return sum(len(arm.runs) for arm in self.results.study.arms)


def unfinished_runs(results: StudyResults, store: Store) -> tuple[UnfinishedRun, ...]:
    """Return the runs of a study that have no record, with their states."""
    found = []
    for arm in results.study.arms:
        for seed, run_id in arm.runs.items():
            if int(seed) in results.records[arm.label]:
                continue
            state = store.state(run_id)
            why = store.failure(run_id)["error"] if state is RunState.FAILED else ""
            found.append(UnfinishedRun(arm.label, seed, run_id, STATES[state], why))
    return tuple(found)


def findings(study: ReportedStudy) -> list[str]:
    """Return what was found and what could not be, a sentence each."""
    results, rows = study.results, study.rows
    compared = [row.comparison for row in rows if row.comparison]
    robust = [row.comparison_mce for row in rows if row.comparison_mce]
    found = [_extent(study)]
    if compared:
        found += _verdicts(compared, "top-1 points" if results.measure.target is None else "seconds")
    elif any(row.n for row in rows):
        found.append("No arm can be compared with another yet: nothing is concluded.")
    found += [f"By mCE: {sentence}" for sentence in (_verdicts(robust, "% mCE") if robust else [])]
    return found + _effects(results)


def _extent(study: ReportedStudy) -> str:
    """Return what was run, and what was not."""
    arms, records = study.results.study.arms, study.results.every_record
    done = sum(len(found) for found in study.results.records.values())
    seeds = len(study.results.study.seeds)
    about = sorted({f"{r.data.name} with {r.model['name']}" for r in records})
    where = f" on {_named(about)}" if about else ""
    finished = f"{'all' if done == study.wanted else f'{done} of'} {_count(study.wanted, 'run')} finished"
    text = f"{_count(len(arms), 'arm')}, {_count(seeds, 'seed')}{where}: {finished}."
    without = [row.label for row in study.rows if not row.n]
    return f"{text} Without any run: {_named(without)}." if without else text


def _verdicts(compared: Sequence[Comparison], unit: str) -> list[str]:
    """Return the comparisons by verdict; every one is in exactly one sentence."""
    groups: dict[str, list[Comparison]] = {}
    for each in compared:
        groups.setdefault(each.verdict.partition(" (")[0], []).append(each)
    tested = sum(each.p_holm is not None for each in compared)
    tests = f"{_count(tested, 'test')}, corrected together"
    stand = [(verdict, of) for verdict in ("helps", "hurts") if (of := groups.pop(verdict, []))]
    said = [f"{verdict.capitalize()} ({tests}): {_named([_distance(c, unit) for c in of])}." for verdict, of in stand]
    if not said and tested:
        said.append(f"No difference stands ({tests}).")
    others = [(OTHER_VERDICTS.get(verdict, verdict.capitalize()), of) for verdict, of in groups.items()]
    return said + [f"{words}: {_named([each.label for each in of])}." for words, of in others]


def _distance(of: Comparison, unit: str) -> str:
    return f"{of.label} against {of.against} by {difference(of)} {unit}"


def _effects(results: StudyResults) -> list[str]:
    """Return the effects of a factorial that stand, and the number of those that do not."""
    tested = [effect for effect in results.effects() if effect.p_holm is not None]
    if not tested:
        return []
    stand = [_effect(effect) for effect in tested if effect.p_holm is not None and effect.p_holm <= ALPHA]
    count = f"{_count(len(tested), 'effect')} of the factorial, corrected together"
    return [f"Of {count}, {f'these stand: {_named(stand)} top-1 points' if stand else 'none stands'}."]


def _effect(effect: "Effect") -> str:
    cells = shown_effect(effect)
    aliased = cells["aliased with"]
    return f"{cells['effect']} by {cells['top-1 points [95 %]']}" + (f" (or {aliased})" if aliased else "")


def warnings(study: ReportedStudy) -> list[str]:
    """Return what a reader must know before the numbers, a line each."""
    results = study.results
    records = results.every_record
    found = []
    single = [row.label for row in study.rows if row.n == 1]
    if len(single) == sum(row.n > 0 for row in study.rows) > 1:
        found.append("One seed only for every arm, so no interval and no conclusion.")
    elif single:
        found.append(f"One seed only, so no interval and no conclusion: {_named(single)}.")
    seeds = len(results.study.seeds)
    short = [f"{row.label} ({row.n} of {seeds})" for row in study.rows if 1 < row.n < seeds]
    found += [f"Not with all seeds: {_named(short)}."] if short else []
    states = Counter(run.state for run in study.unfinished)
    if states:
        found.append(f"Runs without a record: {', '.join(f'{n} {state}' for state, n in states.items())}.")
    found += [str(run) + "." for run in study.unfinished if run.why][:LONGEST_LIST]
    found += _of_records(results, records)
    return found + [f"Left out: {damage}" for damage in results.damaged]


def _of_records(results: StudyResults, records: Sequence[Record]) -> list[str]:
    """Return what makes the records of one study differ, or doubtful."""
    found = []
    diverged = [
        f"{label}, seed {seed}"
        for label, of in results.records.items()
        for seed, record in of.items()
        if record.metrics[record.reported].loss is None
    ]
    if diverged:
        found.append(f"Diverged, with a loss that is not finite: {_named(diverged)}.")
    missing = [
        f"{arm.label}, seed {seed}"
        for arm in results.study.arms
        for seed, record in results.records[arm.label].items()
        if arm.evaluation is not None and record.evaluation(arm.evaluation) is None
    ]
    if missing:
        found.append(f"Not evaluated yet on the corrupted images that the study asks for: {_named(missing)}.")
    several = {
        "devices, so that speeds and seconds do not compare": {r.environment.device for r in records},
        "versions of bagoftricks": {r.environment.bagoftricks for r in records},
        "versions of torch": {r.environment.torch for r in records},
        "data sets (by their digests), so that accuracies do not compare": {r.data.digest for r in records},
    }
    found += [f"Several {what}: {_named(sorted(of))}." for what, of in several.items() if len(of) > 1]
    dirty = sum(bool(record.environment.git_dirty) for record in records)
    found += [f"{_count(dirty, 'run')} with changes that no revision has."] if dirty else []
    skipped = max((len(record.data.skipped) for record in records), default=0)
    found += [f"Up to {_count(skipped, 'image')} could not be read and had no part in a run."] if skipped else []
    if results.study.scale not in (None, "paper") and any(arm.published for arm in results.study.arms):
        found.append(
            f"The published numbers are of the paper's setting, ours of the scale {results.study.scale}: "
            "compare the differences, not the numbers."
        )
    return found


def _named(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    more = len(names) - LONGEST_LIST
    return "; ".join(names[:LONGEST_LIST]) + (f"; and {more} more (table)" if more > 0 else "")


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"
