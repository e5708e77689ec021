"""Comparison of a study with a lock of it: which means and differences repeat, and why others may not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

from bagoftricks.escape import for_json
from bagoftricks.plugins import typed_text
from bagoftricks.report.column import TracedText
from bagoftricks.report.study import tabulate_rows
from bagoftricks.report.study_results import StudyResults, effects_by_seed
from bagoftricks.report.styles import title_line, with_notes
from bagoftricks.report.text_table import Fit
from bagoftricks.statistics.paired import Comparison, Summary, compare, summarise
from bagoftricks.statistics.replication import Repeat, corrected, repeat_of, repeat_verdict
from bagoftricks.store.json_fields import to_json
from bagoftricks.store.record import Record
from bagoftricks.store.store import WEIGHTS
from bagoftricks.store.typed import settings_by_key
from bagoftricks.store.weight_sets import reported
from bagoftricks.study.lock import DIGITS, Lock, LockedArm, LockedMachine, LockedRun, lock_digest, lock_line, travelling

HEADINGS = {"top1": "top-1 %", "mce": "mCE %", "mfr": "mFR %"}  # scores that are compared
BySeed = dict[int, float]


@dataclass(frozen=True, kw_only=True)
class RepeatedRow:
    """A mean, a difference of two arms, or an effect of a factorial design, there and here."""

    arm: str
    score: str
    against: str | None  # None: the mean of the arm itself
    there: Summary | None
    here: Summary | None
    repeat: Repeat
    verdict: str
    runs: tuple[str, ...] = ()  # ids of those here
    is_effect: bool = False  # of a factorial design: ``arm`` names the tricks

    @property
    def is_signed(self) -> bool:
        """Return True for a difference or an effect."""
        return self.is_effect or self.against is not None

    @property
    def name(self) -> str:
        """Arm, both arms of a difference, or the tricks of an effect."""
        if self.is_effect:
            return f"effect of {self.arm}"
        return self.arm if self.against is None else f"{self.arm} - {self.against}"


@dataclass(frozen=True, kw_only=True)
class RepeatedStudy:
    """A study compared with the one of a lock."""

    name: str
    lock: str  # its digest
    rows: tuple[RepeatedRow, ...]
    same_runs: int  # with one id there and here
    identical: int  # of these, with the same weights, bit for bit
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class ComparedScore:
    """One score of all runs there and here, by arm and seed; ``same``: arms that are identical bit for bit."""

    lock: Lock
    results: StudyResults
    score: str
    same: frozenset[str]

    @cached_property
    def there(self) -> Mapping[str, BySeed]:
        return {arm.label: scores_there(arm, self.score) for arm in self.lock.arms}

    @cached_property
    def here(self) -> Mapping[str, BySeed]:
        return {arm.label: self._here(arm) for arm in self.lock.arms}

    def _here(self, arm: LockedArm) -> BySeed:
        """Return the score of an arm here by seed, none where it was evaluated in another way."""
        if arm.label not in self.results.records:
            return {}
        alike = self.score == "top1" or arm.evaluation == self.results.arm(arm.label).evaluation
        return self.results.values(arm.label, self.score) if alike else {}

    def runs(self, *labels: str) -> tuple[str, ...]:
        """Return the ids of the runs here of these arms."""
        return tuple(record.id for label in labels for record in self.results.records.get(label, {}).values())


def compare_study(lock: Lock, results: StudyResults) -> RepeatedStudy:
    """Return which means of the arms, and which of their differences, repeat."""
    pairs, same = list(_same_runs(lock, results)), frozenset(identical_arms(lock, results))
    scores = [ComparedScore(lock, results, score, same) for score in HEADINGS]
    return RepeatedStudy(
        name=results.study.name,
        lock=lock_digest(lock)[:DIGITS],
        rows=tuple(row for of in scores if any(of.there.values()) for row in _all_rows(of)),
        same_runs=len(pairs),
        identical=sum(is_identical(run, record) for run, record in pairs),
        notes=tuple(_notes(lock, results, pairs)),
    )


def _all_rows(of: ComparedScore) -> list[RepeatedRow]:
    return [*_levels(of), *(_effects(of) if of.lock.factors else _differences(of))]


def scores_there(arm: LockedArm, score: str) -> BySeed:
    """Return a score of the runs of a lock's arm by seed, of the weight set that a study reports."""
    found: BySeed = {}
    for run in arm.runs:
        by_weights = run.robustness.get(arm.evaluation or "", {})
        robust = by_weights.get(reported(by_weights), {}).get(score)
        value = run.metrics[reported(run.metrics)].values().get(score, robust)
        found |= {} if value is None else {run.seed: value}
    return found


def _levels(of: ComparedScore) -> list[RepeatedRow]:
    """Return a row for the mean of each arm that was run there or here."""
    arms = [arm.label for arm in of.lock.arms if of.there[arm.label] or of.here[arm.label]]
    values = [(list(of.there[label].values()), list(of.here[label].values())) for label in arms]
    found = corrected([repeat_of(*both) for both in values])
    return [
        RepeatedRow(
            arm=label,
            score=of.score,
            against=None,
            there=_summary(both[0]),
            here=_summary(both[1]),
            repeat=repeat,
            verdict="identical" if label in of.same else repeat_verdict(repeat),
            runs=of.runs(label),
        )
        for label, both, repeat in zip(arms, values, found, strict=True)
    ]


def identical_arms(lock: Lock, results: StudyResults) -> set[str]:
    """Return the arms with the same runs there and here, bit for bit, which need no test."""
    found = set()
    for arm in lock.arms:
        runs, records = {run.seed: run for run in arm.runs}, results.records.get(arm.label, {})
        if runs and runs.keys() == records.keys() and all(is_identical(runs[s], records[s]) for s in runs):
            found.add(arm.label)
    return found


def _differences(of: ComparedScore) -> list[RepeatedRow]:
    """Return a row for each comparison of the study, paired by seed within each of the two."""
    pairs = [(arm.label, arm.compare_to) for arm in of.lock.arms if arm.compare_to and of.there[arm.label]]
    pairs = [(label, against) for label, against in pairs if of.there[against]]
    first = {made.label: made for made in compare(of.there, pairs, higher_is_better=of.score == "top1")}
    gains = [(_paired(of.there, *pair), _paired(of.here, *pair)) for pair in pairs]
    found = corrected([repeat_of(*both) for both in gains])
    return [
        RepeatedRow(
            arm=label,
            score=of.score,
            against=against,
            there=_summary(both[0]),
            here=_summary(both[1]),
            repeat=repeat,
            verdict="identical"
            if {label, against} <= of.same
            else repeat_verdict(repeat, claimed=_claimed(first[label])),
            runs=of.runs(label, against),
        )
        for (label, against), both, repeat in zip(pairs, gains, found, strict=True)
    ]


def _effects(of: ComparedScore) -> list[RepeatedRow]:
    """Return a row for each effect of a factorial design that can be told in single seeds, there and here."""
    from bagoftricks.statistics.effects import factorial_effects

    on = {arm.label: frozenset(arm.on) for arm in of.lock.arms}
    both = [
        [(on[label], seed, score) for label, by_seed in scores.items() for seed, score in by_seed.items()]
        for scores in (of.there, of.here)
    ]
    if not all(both):
        return []
    first = [effect for effect in factorial_effects(both[0], of.lock.factors).rows if effect.estimate is not None]
    there, here = (effects_by_seed(runs, of.lock.factors) for runs in both)
    gains = [([*there.get(e.tricks, {}).values()], [*here.get(e.tricks, {}).values()]) for e in first]
    repeats = corrected([repeat_of(*each) for each in gains])
    return [
        RepeatedRow(
            arm=" x ".join(effect.tricks),
            score=of.score,
            against=None,
            there=_summary(each[0]),
            here=_summary(each[1]),
            repeat=repeat,
            verdict=repeat_verdict(repeat, claimed=effect.estimate if effect.stands else None),
            runs=of.runs(*on),
            is_effect=True,
        )
        for effect, each, repeat in zip(first, gains, repeats, strict=True)
    ]


def _claimed(comparison: Comparison) -> float | None:
    """Return the difference of a comparison that found one."""
    return comparison.difference if comparison.verdict in ("helps", "hurts") else None


def _paired(scores: Mapping[str, BySeed], label: str, against: str) -> list[float]:
    own, other = scores[label], scores[against]
    return [own[seed] - other[seed] for seed in own if seed in other]


def _summary(values: Sequence[float]) -> Summary | None:
    return summarise(values) if values else None


# --- why they may differ ---


def _same_runs(lock: Lock, results: StudyResults) -> Iterator[tuple[LockedRun, Record]]:
    """Yield the runs that have one id there and here."""
    here = {record.id: record for record in results.every_record}
    yield from ((run, here[run.id]) for arm in lock.arms for run in arm.runs if run.id in here)


def is_identical(run: LockedRun, record: Record) -> bool:
    """Return True if a run has the same weights, bit for bit; without their digests, the same scores."""
    ours = {name: digest for name, digest in record.files.items() if name.endswith(WEIGHTS)}
    if run.weights and ours:
        return run.weights == ours
    return run.id == record.id and run.metrics == record.metrics


def _notes(lock: Lock, results: StudyResults, pairs: Sequence[tuple[LockedRun, Record]]) -> Iterator[str]:
    """Yield what was compared with what, and what differs besides the results."""
    yield f"there: {lock_line(lock)}"
    yield f"here: study {results.study.name}, made by: {results.study.command}"
    here = set(results.records)
    if alone := [arm.label for arm in lock.arms if arm.label not in here]:
        yield f"arms there alone: {', '.join(alone)}"
    if alone := [label for label in results.records if label not in {arm.label for arm in lock.arms}]:
        yield f"arms here alone: {', '.join(alone)}"
    if set(lock.seeds) != set(results.study.seeds):
        yield f"seeds: {_listed(lock.seeds)} there, {_listed(results.study.seeds)} here"
    identical = sum(is_identical(run, record) for run, record in pairs)
    total = sum(len(arm.runs) for arm in lock.arms)
    yield f"{len(pairs)} of the {total} runs have one id there and here; {identical} of these are the same bit for bit"
    if identical < len(pairs):
        most = max(abs(run.metrics[r.reported].get(r.first) - r.score()) for run, r in pairs)
        yield f"a run and the one of its id here differ by at most {most:.2f} points of top-1"
    yield from _environments(lock, results.every_record)
    yield from _data(lock, results)
    yield from _settings(lock, results)
    yield (
        "[ ]: 95 % prediction interval of the mean here, seen from the mean there, by the spread of both; verdicts by "
        "Holm-corrected p over the means, and over the differences, of a score"
    )


def _environments(lock: Lock, records: Sequence[Record]) -> Iterator[str]:
    for name in [each.name for each in fields(LockedMachine)]:
        there = sorted({str(getattr(machine, name)) for machine in lock.machines})
        here = sorted({str(getattr(record.environment, name)) for record in records})
        if there != here and here:
            yield f"{name.replace('_', ' ')}: {', '.join(there)} there, {', '.join(here)} here"
    ours = {name: digest for record in records for name, digest in record.plugins.items()}
    for name, digest in lock.plugins.items():
        if ours.get(name, digest) != digest:
            yield f"plug-in {name}: another source ({digest} there, {ours[name]} here)"


def _data(lock: Lock, results: StudyResults) -> Iterator[str]:
    """Yield the data sets whose images, labels or class names differ."""
    lines: dict[str, None] = {}
    for arm in lock.arms:
        for record in results.records.get(arm.label, {}).values() if arm.data is not None else ():
            there = lock.data[arm.data or 0]
            if there.digest != record.data.digest:
                sizes = [f"{of.train_images:,} + {of.val_images:,} images" for of in (there, record.data)]
                lines[f"data: {there.name} ({sizes[0]}) there, {record.data.name} ({sizes[1]}) here, by digest"] = None
    yield from lines


def _settings(lock: Lock, results: StudyResults) -> Iterator[str]:
    """Yield the settings that differ, each with the arms whose it is if not all."""
    found: dict[str, list[str]] = {}
    for arm in lock.arms:
        record = next(iter(results.records.get(arm.label, {}).values()), None)
        if record is None or not arm.runs:
            continue
        there = {**lock.settings, **arm.settings}
        tricks = {**lock.tricks, **arm.more_tricks, **arm.tricks}
        there |= {key: value for key, value in settings_by_key({"tricks": tricks}).items() if "teacher" not in key}
        ours = travelling(settings_by_key(record.config)) | settings_by_key({"tricks": record.tricks})
        for key in dict.fromkeys([*there, *ours]):
            one, two = there.get(key), ours.get(key)
            if one != two and not key.startswith("corruptions") and "teacher" not in key:
                found.setdefault(f"{key}: {typed_text(one)} there, {typed_text(two)} here", []).append(arm.label)
    for line, labels in found.items():
        yield line + (f" ({', '.join(labels)})" if len(labels) < len(results.records) else "")


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


# --- text ---


def replication_text(found: RepeatedStudy, style: str, fit: Fit | None = None) -> str:
    """Return the comparison in one of the styles of ``format=``."""
    if style == "json":
        return for_json(to_json(found))
    if style == "csv":
        return tabulate_rows([_flat(row) for row in found.rows], style)
    parts = [title_line(f"{found.name}, compared with lock {found.lock}", style, fit)]
    signed = [row for row in found.rows if row.is_signed]
    for rows in ([row for row in found.rows if not row.is_signed], signed):
        if rows:
            parts += ["", tabulate_rows([_cells(row) for row in rows], style, fit)]
    return with_notes("\n".join(parts), found.notes, style, fit)


def _cells(row: RepeatedRow) -> dict[str, str]:
    repeat, heading = row.repeat, HEADINGS[row.score]
    signed = row.is_signed
    interval = "" if repeat.low is None else f" [{repeat.low:+.2f}, {repeat.high:+.2f}]"
    change = "" if repeat.difference is None else f"{repeat.difference:+.2f}{interval}"
    return {
        "arm": row.name,
        "score": heading,
        "there": _spread(row.there, signed),
        "here": TracedText(_spread(row.here, signed), row.runs),
        "here - there [95 %]": TracedText(change, row.runs),
        "verdict": TracedText(row.verdict, row.runs),
        "p (Holm)": "" if repeat.p_holm is None else f"{repeat.p_holm:.3f}",
        "n": f"{repeat.n_there}, {repeat.n_here}",
    }


def _spread(of: Summary | None, signed: bool) -> str:
    if of is None:
        return ""
    exact = round(of.mean, 9)  # a tie, as 8.525, is rounded alike on every processor
    mean = f"{exact:+.2f}" if signed else f"{exact:.2f}"
    return mean if of.low is None or of.high is None else f"{mean} ± {(of.high - of.low) / 2:.2f}"


def _flat(row: RepeatedRow) -> dict[str, object]:
    """Return a row for CSV: one number per cell."""
    flat: dict[str, object] = {
        "arm": row.name if row.is_effect else row.arm,
        "against": row.against,
        "score": row.score,
    }
    for place, of in (("there", row.there), ("here", row.here)):
        flat |= {place: of and of.mean, f"{place}_low": of and of.low, f"{place}_high": of and of.high}
    return {**flat, **vars(row.repeat), "verdict": row.verdict}
