"""Sentences of what a study found and could not find, and warnings; never more than its statistics say."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bagoftricks.report.selection import TOO_HIGH
from bagoftricks.report.selection_result import selection_line
from bagoftricks.report.study import alias_text
from bagoftricks.report.study_parts import StudyRow
from bagoftricks.report.study_results import StudyResults, counted, difference
from bagoftricks.statistics.paired import NO_EFFECT, Comparison, two_digits
from bagoftricks.store.record import Record
from bagoftricks.store.store import RunState, Store

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effect

DECIDED = ("helps", "better together", "hurts", "worse together")  # verdicts that stand
LONGEST_LIST = 5  # arms in a sentence
STATES = {
    RunState.MISSING: "not begun",
    RunState.RUNNING: "running",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "interrupted",
    RunState.DONE: "unreadable",
}


OTHER_VERDICTS = {
    "undecided": "Undecided, which does not show that they do nothing",
    "one seed: no interval, no conclusion": "Run with one shared seed, so that nothing is concluded",
    "no shared seed: no difference": "Without a seed in common with what they are compared with",
    TOO_HIGH.partition(":")[0]: "Selected by numbers that are too high to be a result",
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
    result = selection_line(results)
    found = [*([result] if result else []), _extent(study), *_effects(results)]
    if compared:
        found += _verdicts(compared, results.score.of_differences, by_step=results.study.selection is not None)
    elif any(row.n for row in rows) and not results.effects.rows:
        found.append("No arm can be compared with another yet: nothing is concluded.")
    return found + [f"By mCE: {sentence}" for sentence in (_verdicts(robust, "% mCE") if robust else [])]


def _extent(study: ReportedStudy) -> str:
    """Return what was run, and what was not."""
    arms, records = study.results.study.arms, study.results.every_record
    done = sum(len(found) for found in study.results.records.values())
    seeds = len(study.results.study.seeds)
    up_to = "up to " if any(0 < len(arm.runs) < seeds for arm in arms) else ""
    about = sorted({f"{r.data.name} with {r.model['name']}" for r in records})
    where = f" on {_named(about)}" if about else ""
    finished = f"{'all' if done == study.wanted else f'{done} of'} {counted(study.wanted, 'run')} finished"
    text = f"{counted(len(arms), 'arm')}, {up_to}{counted(seeds, 'seed')}{where}: {finished}."
    without = [row.label for row in study.rows if not (row.n or row.quoted)]
    return f"{text} Without any run: {_named(without)}." if without else text


def _verdicts(compared: Sequence[Comparison], unit: str, *, by_step: bool = False) -> list[str]:
    """Return the comparisons by verdict; every one is in exactly one sentence."""
    told = [(c.verdict, f"{c.label} against {c.against} by {difference(c)} {unit}", c.label, c.sees) for c in compared]
    tested = sum(c.noise is not None for c in compared)
    together = ", those of each step together" if by_step else " together"
    return _by_verdict(told, counted(tested, "test") + together * (tested > 1), "difference", unit)


def _effects(results: StudyResults) -> list[str]:
    """Return the effects of a factorial by verdict."""
    rows, unit = results.effects.rows, results.score.of_differences
    tested = [effect for effect in rows if effect.noise is not None]
    told = [(e.verdict, f"{told_effect(e)} {unit}", effect_name(e), e.sees) for e in tested]
    tests = counted(len(tested), "effect") + " tested together" * (len(tested) > 1)
    found = _by_verdict(told, tests, "effect", unit) if told else []
    lost = [effect_name(effect) for effect in rows if effect.estimate is None]
    return found + ([f"Not estimable with these arms: {_named(lost)}."] if lost else [])


Told = tuple[str, str, str, float | None]  # verdict, what it is in words, its name alone, what the study sees of it


def _by_verdict(told: Sequence[Told], tests: str, what: str, unit: str) -> list[str]:
    """Return a sentence for each verdict: with numbers where one stands, and what was seen where none does."""
    groups: dict[str, list[Told]] = {}
    for each in told:
        verdict = each[0].partition(":")[0]
        groups.setdefault(NO_EFFECT if verdict.startswith(NO_EFFECT) else verdict, []).append(each)
    stand = [(verdict, of) for verdict in DECIDED if (of := groups.pop(verdict, []))]
    said = [f"{verdict.capitalize()} ({tests}): {_named([each[1] for each in of])}." for verdict, of in stand]
    if not said and any(each[3] is not None or each[0].startswith(NO_EFFECT) for each in told):
        said.append(f"No {what} stands ({tests}).")
    for verdict, of in groups.items():
        if verdict == NO_EFFECT:
            listed = [f"{each[2]} ({each[0].removeprefix(NO_EFFECT).strip()})" for each in of]
            said.append(f"No effect of a size that matters: {_named(listed)}.")
            continue
        seen = [each[3] for each in of if each[3] is not None]
        ends = dict.fromkeys(two_digits(end) for end in (min(seen), max(seen))) if seen else ()
        sees = f" (the study sees {' to '.join(ends)} {unit})" if seen else ""
        words = OTHER_VERDICTS.get(verdict, OTHER_VERDICTS.get(of[0][0], verdict.capitalize()))
        said.append(f"{words}{sees}: {_named([each[2] for each in of])}.")
    return said


def effect_name(effect: "Effect") -> str:
    """Return the tricks of an effect, with what the design cannot tell from it."""
    aliased = alias_text(effect)
    return " x ".join(effect.tricks) + (f" (or {aliased})" if aliased else "")


def told_effect(effect: "Effect") -> str:
    """Return an effect with its interval."""
    return f"{effect_name(effect)} by {effect.estimate:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"


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
    planned = {arm.label: len(arm.runs or results.study.seeds) for arm in results.study.arms}
    rows = [(row.label, row.n, planned[row.label]) for row in study.rows]
    short = [f"{label} ({n} of {wanted})" for label, n, wanted in rows if 1 < n < wanted]
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
    found += [f"{counted(dirty, 'run')} with changes that no revision has."] if dirty else []
    skipped = max((len(record.data.skipped) for record in records), default=0)
    found += [f"Up to {counted(skipped, 'image')} could not be read and had no part in a run."] if skipped else []
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
