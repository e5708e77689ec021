"""Results of a study from records alone: summaries and comparisons of its arms, and effects."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, TypedDict

from bagoftricks.errors import LOSS_FAILURE, UserError, did_you_mean
from bagoftricks.registry import score_names
from bagoftricks.report import dawnbench
from bagoftricks.report.column import Column
from bagoftricks.report.dawnbench import NO_MEASURE, TIME, Measure
from bagoftricks.report.image_tests import (
    ImageFloor,
    PairedImages,
    factor_images,
    image_floor,
    paired_correctness,
    with_image_tests,
)
from bagoftricks.report.score import SCORES_BY_KEY, TOP1, Score, check_score, measurements, score_of, scores_by_key
from bagoftricks.report.selection import TOO_HIGH, chosen_labels, part_of
from bagoftricks.report.study_parts import SavedArm, SavedStudy, StudyRow, load_study
from bagoftricks.report.study_robustness import (
    ROBUSTNESS,
    measured_evaluations,
    robustness,
)
from bagoftricks.report.table import COST, INT8, LATENCY, RESULT, TRAIN_SECONDS, task_results
from bagoftricks.robustness.overlaps import record_overlaps
from bagoftricks.statistics.paired import ALPHA, Comparison, Summary, compare, summarise
from bagoftricks.store.record import Record, Scores
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.store import Store
from bagoftricks.study.arms import CROSSED, SELECTING

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effects, ScoredRun
    from bagoftricks.statistics.shares import Share

COLUMNS: dict[str, Column] = {
    column.key: column for column in [*RESULT, *COST, *ROBUSTNESS.values(), TRAIN_SECONDS, LATENCY, INT8]
}
DEFAULT_COLUMNS = ("top1", "params", "macs", "train_images_per_s", "infer_images_per_s", "train_seconds")
RESULTS = ("top1", "top5", "loss", "ece", "soft_top1", *ROBUSTNESS, TIME, dawnbench.TRAIN_COST)


class TestSettings(TypedDict):
    """Settings of the tests of differences in a score."""

    higher_is_better: bool
    alpha: float
    resolve: float
    unit: str


@dataclass(frozen=True)
class StudyResults:
    """A study with the records of its finished runs by arm and seed; ``damaged``: what is wrong with the others."""

    study: SavedStudy
    records: Mapping[str, Mapping[int, Record]]  # label -> seed -> record
    measure: Measure = NO_MEASURE
    damaged: tuple[str, ...] = ()
    failed: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # label -> seed -> error
    chosen_score: str = ""  # other than the study's own
    chosen_resolve: float | None = None
    store: Store | None = None  # where the files of the runs are

    @cached_property
    def score(self) -> Score:
        """Score that arms are compared in: as chosen, else the study's own, else top-1 or the time to an accuracy."""
        own = self.study.score if self.measure.target is None else ""
        return score_of(self.chosen_score or own or "", self.measure, self.first)

    @cached_property
    def first(self) -> str:
        """Key of the first score of the task of the runs that are compared, else of all runs."""
        compared = [self.records.get(arm.label, {}) for arm in self.study.arms if arm.compare_to]
        judged = [record for found in compared for record in found.values()]
        return next((record.first for record in (*judged, *self.every_record)), TOP1)

    @property
    def resolve(self) -> float:
        """Difference that matters, in the unit of the score."""
        if self.chosen_resolve is not None:
            return self.chosen_resolve
        alike = self.score.unit == scores_by_key()[self.study.score or self.first].unit
        own = self.study.resolve if alike else None
        return self.score.resolve if own is None else own

    @cached_property
    def alpha(self) -> float:
        """Largest p of a verdict: 0.05, or less if the study is judged at several looks, which share the error."""
        looks, arms = self.study.looks, [arm for arm in self.study.arms if arm.runs]
        share = ALPHA / (1 + self.study.extensions)
        if len(looks) < 2:
            return share
        from bagoftricks.statistics.looks import comparisons_alpha, effects_alpha

        if self.is_factorial:
            sizes = [len(levels) for levels in self.factors]
            effects = sum(sizes) + sum(one * other for one, other in combinations(sizes, 2))
            return effects_alpha(len(arms), min(effects, len(arms) - 1), looks, share)
        at = {arm.label: position for position, arm in enumerate(arms)}
        pairs = tuple((at[arm.label], at[str(arm.compare_to)]) for arm in arms if arm.compare_to in at)
        return comparisons_alpha(len(arms), pairs, looks, share)

    @property
    def is_factorial(self) -> bool:
        """Return True if the effects of factors are tested, and not the arms."""
        return self.study.design in CROSSED

    @property
    def title(self) -> str:
        """Title of the study, or its name."""
        return self.study.title or self.study.name

    @property
    def every_record(self) -> list[Record]:
        """Records of all arms, in their order."""
        return [record for found in self.records.values() for record in found.values()]

    @cached_property
    def known_columns(self) -> dict[str, Column]:
        """Columns that a table can show, by key."""
        return columns_by_key(self.measure)

    def columns(self, wanted: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the keys of the columns ``wanted``, by default the study's own, with those of the measure."""
        usual = wanted or self.study.columns or DEFAULT_COLUMNS
        if not wanted and self.first != TOP1:
            classifiers = any(record.first == TOP1 for found in self.records.values() for record in found.values())
            instead = {key: (self.first, key) if classifiers else (self.first,) for key in RESULTS[:5]}
            usual = tuple(dict.fromkeys(new for key in usual for new in instead.get(key, (key,))))
        found = chosen_columns(usual, self.known_columns, self.measure)
        key = self.score.key
        if key in found or key not in self.known_columns:
            return found
        at = 1 + found.index(self.first) if self.first in found else 0
        return (*found[:at], key, *found[at:])

    def rows(self, columns: Sequence[str] = ()) -> list[StudyRow]:
        """Return a row for each arm."""
        return study_rows(self, columns or self.columns())

    def arm(self, label: str) -> SavedArm:
        """Return the arm of that label."""
        return next(arm for arm in self.study.arms if arm.label == label)

    def values(self, label: str, key: str = "") -> dict[int, float]:
        """Return a result or a cost of an arm by seed, of those runs that have it, and have measured it themselves.

        Without a key, the task's first score.
        """
        arm, key = self.arm(label), key or self.first
        records = self.records[label]
        own = {id(record) for record in measurements(records.values(), key)}
        found = {s: value(r, key, self.measure, arm.evaluation) for s, r in records.items() if id(r) in own}
        return {seed: number for seed, number in found.items() if number is not None}

    def differences(self, label: str, key: str = "") -> dict[int, float]:
        """Return by seed the distance of an arm from the one it is compared with; empty without one."""
        against = self.arm(label).compare_to
        if against is None or against not in self.records:
            return {}
        own, other = self.values(label, key), self.values(against, key)
        return {seed: own[seed] - other[seed] for seed in own if seed in other}

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """Comparisons by label, corrected together, in the study's score; none of a factorial design."""
        if self.is_factorial:
            return {}
        made = self.compared_in(self.score)
        if self.store is None or self.score.key not in (TOP1, "recall_at_1"):
            return made
        return with_image_tests(made, self.store, self.records)

    @cached_property
    def effects(self) -> "Effects":
        """Main effects and two-way interactions of a factorial design; none of others."""
        from bagoftricks.statistics.effects import Effects, factorial_effects

        runs = self.factor_runs() if self.is_factorial else []
        if len(runs) < 2:
            return Effects(())
        return factorial_effects(runs, self.factors, **self._test_settings(self.score))

    @cached_property
    def shares(self) -> "dict[str, Share]":
        """Share of each trick of a factorial design in the gain of all; empty where it is not known."""
        from bagoftricks.statistics.shares import shares_of

        return shares_of(self.factor_runs(), self.factors, self.effects) if self.is_factorial else {}

    @cached_property
    def factors(self) -> tuple[tuple[str, ...], ...]:
        """Levels of each factor of a factorial design. Studies of earlier versions do not say: each trick is one."""
        if self.study.factors:
            return self.study.factors
        return tuple((trick,) for trick in sorted({trick for arm in self.study.arms for trick in arm.tricks}))

    def factor_runs(self) -> "list[ScoredRun]":
        """Return the runs of a factorial design: levels that are on, seed and score."""
        found = ((frozenset(self.levels_on(label)), self.values(label, self.score.key)) for label in self.records)
        return [(on, seed, v) for on, of in found for seed, v in of.items() if math.isfinite(v)]

    def levels_on(self, label: str) -> Collection[str]:
        """Return the levels of factors that an arm of a factorial design has on."""
        arm = self.arm(label)
        return arm.on if self.study.factors else arm.tricks

    def compared_in(self, score: Score) -> dict[str, Comparison]:
        """Return the comparisons by label in a score, corrected together."""
        scores, pairs = self.paired_scores(score)
        selects, told = self.study.design in SELECTING, []
        for of in by_step(pairs) if selects else [pairs]:
            own = {label: scores[label] for pair in of for label in pair} if selects else scores
            told += compare(own, of, **self._test_settings(score))
        high = chosen_labels(self.study)
        return {c.label: replace(c, verdict=TOO_HIGH) if c.label in high else c for c in told}

    def _test_settings(self, score: Score) -> TestSettings:
        """Return the settings of the tests of differences in a score."""
        resolve = self.resolve if score == self.score else score.resolve
        better, unit = score.higher_is_better, score.unit
        return {"higher_is_better": better, "alpha": self.alpha, "resolve": resolve, "unit": unit}

    def paired_scores(self, score: Score) -> tuple[dict[str, dict[int, float]], list[tuple[str, str]]]:
        """Return the scores by label and seed, and which arms are compared. Times need all runs of both arms."""
        scores: dict[str, dict[int, float]] = {}
        for label, found in self.records.items():
            values = {seed: v for seed, v in self.values(label, score.key).items() if math.isfinite(v)}
            if values and (score.key != TIME or len(values) == len(found)):
                scores[label] = values
        arms = self.study.arms
        return scores, [(a.label, a.compare_to) for a in arms if a.compare_to in scores and a.label in scores]

    @cached_property
    def image_floor(self) -> ImageFloor | None:
        """Noise of the test images in differences or effects, None for scores that are no accuracies."""
        counts = [record.data.val_images for record in self.every_record]
        if self.score.key not in (TOP1, "soft_top1", "recall_at_1") or not counts:
            return None
        return image_floor(self._paired_images(), min(counts))

    def _paired_images(self) -> Iterable[PairedImages]:
        if self.store is None:
            return ()
        if self.is_factorial:
            on = {label: self.levels_on(label) for label in self.records}
            return factor_images(self.store, self.records, on, [factor[0] for factor in self.factors])
        compared = [(self.records[made.label], self.records[made.against]) for made in self.comparisons.values()]
        pairs = (paired_correctness(self.store, *both) for both in compared)
        return (pair for pair in pairs if pair is not None)

    def absent(self, label: str) -> str:
        """Return which of an arm's runs have no record, in words: ``4 of 5 seeds, 1 diverged``; empty if none."""
        wanted, found = len(self.arm(label).runs or self.study.seeds), len(self.records[label])
        return ", ".join([f"{found} of {wanted} seeds", *self._lost(label)]) if found < wanted else ""

    def unrun(self, label: str) -> str:
        """Return what became of an arm without a finished run: ``not run``, or ``5 diverged``."""
        return ", ".join(self._lost(label)) or "not run"

    def _lost(self, label: str) -> list[str]:
        errors = [*self.failed.get(label, {}).values()]
        diverged = sum(error.startswith(LOSS_FAILURE) for error in errors)
        counts = {"diverged": diverged, "failed": len(errors) - diverged}
        return [f"{count} {what}" for what, count in counts.items() if count]

    def evaluations(self) -> dict[str, RobustnessResult]:
        """Return by name the evaluations on corrupted images behind the arms' numbers."""
        return measured_evaluations(self.study.arms, self.records)


def by_step(pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Return the comparisons by the arm that they are against: each step of a selection is tested on its own."""
    against = dict.fromkeys(other for _, other in pairs)
    return [[pair for pair in pairs if pair[1] == other] for other in against]


def effects_by_seed(
    runs: "Sequence[ScoredRun]", factors: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], dict[int, float]]:
    """Return each effect of a factorial design as every seed has it alone, of those that one seed can tell."""
    from bagoftricks.statistics.effects import factorial_effects

    found: dict[tuple[str, ...], dict[int, float]] = {}
    for seed in sorted({seed for _, seed, _ in runs}):
        alone = [run for run in runs if run[1] == seed]
        for effect in factorial_effects(alone, factors).rows if len(alone) > 1 else ():
            if effect.estimate is not None:
                found.setdefault(effect.tricks, {})[seed] = effect.estimate
    return found


def load_results(
    store: Store, name: str, measure: Measure | None = None, *, score: str = "", resolve: float | None = None
) -> StudyResults:
    """Return the results of a study in a store. Raises UserError if it is missing or damaged.

    ``measure``, ``score`` and ``resolve``: others than the study's own.
    """
    study = load_study(store, name)
    if score:
        check_score(score)
    records = {arm.label: arm.records(store) for arm in study.arms}
    failed = {arm.label: arm.failures(store, records[arm.label]) for arm in study.arms}
    damaged = tuple(dict.fromkeys(store.damaged))
    chosen = measure or study.measure or NO_MEASURE
    return StudyResults(study, records, chosen, damaged, failed, score, resolve, store)


def columns_by_key(measure: Measure) -> dict[str, Column]:
    """Return the columns that a table of a study can show."""
    return {**COLUMNS, **{column.key: column for column in (*task_results(), *measure.columns)}}


def chosen_columns(wanted: Sequence[str], known: Mapping[str, Column], measure: Measure) -> tuple[str, ...]:
    """Return the columns as wanted, with those of the measure: first the one that runs are judged by."""
    for key in wanted:
        if key == TIME and measure.target is None:
            raise UserError(f"columns: {TIME} needs an accuracy: add metric={TIME} target=0.94")
        if key not in known:
            raise UserError(f"columns: there is no '{key}'{did_you_mean(key, known)} ({', '.join(known)})")
    if not measure:
        return tuple(wanted)
    more = [column.key for column in measure.columns if column.key not in wanted]
    first = [key for key in more if key == TIME]
    return (*first, *wanted, *(key for key in more if key != TIME))


def study_rows(results: StudyResults, columns: Sequence[str]) -> list[StudyRow]:
    """Return one row per arm: summaries by column, published values, and comparisons, also by mCE if it is shown."""
    measure, compared = results.measure, results.comparisons
    by_mce = "mce" in columns and results.score.key != "mce" and not results.is_factorial
    robust = results.compared_in(SCORES_BY_KEY["mce"]) if by_mce else {}
    rows = []
    for arm in results.study.arms:
        found = list(results.records[arm.label].values())
        every = {
            key: [(r.id, value(r, key, measure, arm.evaluation)) for r in measurements(found, key)] for key in columns
        }
        values = {key: known for key, of in every.items() if (known := [(r, v) for r, v in of if v is not None])}
        compares = {"comparison": compared.get(arm.label), "comparison_mce": robust.get(arm.label)}
        rows.append(
            StudyRow(
                label=arm.label,
                quoted=arm.quoted,
                n=len(found),
                missing=_why_missing(results, arm),
                absent=results.absent(arm.label) if found else "",
                selection=part_of(results.study, arm.label),
                struck=arm.label in chosen_labels(results.study),
                values={key: summary(key, [v for _, v in known]) for key, known in values.items()},
                runs={key: tuple(run for run, _ in known) for key, known in values.items()}
                | {name: compared_runs(made, results.records) for name, made in compares.items() if made},
                reached=None if measure.target is None else dawnbench.reached(found, measure.target),
                published=arm.published,
                **compares,
                overlaps=list(dict.fromkeys(why for r in found if r.robustness for why in record_overlaps(r))),
            )
        )
    return rows


def _why_missing(results: StudyResults, arm: SavedArm) -> str:
    """Return why an arm has no record; empty if it has one, or is only quoted."""
    if arm.quoted or results.records[arm.label]:
        return ""
    return ", ".join(f"needs {what}" for what in arm.needs) or results.unrun(arm.label)


def scored(record: Record) -> Scores:
    """Return the scores that a study reports: of the average if there is exactly one, else of the last weights."""
    return record.metrics[record.reported]


def value(record: Record, key: str, measure: Measure = NO_MEASURE, evaluation: str | None = None) -> float | None:
    """Return a result or a cost of a run; ``evaluation``: the one on corrupted images that its arm requests."""
    if key in ROBUSTNESS:
        return robustness(record, key, evaluation)
    costs = {**vars(record.cost), **scored(record).values(), **dawnbench.measure_values(record, measure)}
    found = costs.get(key)
    return None if found is None else float(found)


def compared_runs(made: Comparison, records: Mapping[str, Mapping[int, Record]]) -> tuple[str, ...]:
    """Return the ids of the runs behind a comparison: of both arms, with the seeds that both have."""
    own, other = records[made.label], records[made.against]
    return tuple(of[seed].id for of in (own, other) for seed in own if seed in other)


def summary(key: str, values: Sequence[float]) -> Summary:
    """Return the mean and interval of a result over seeds; of a cost, the median."""
    return (
        summarise(values)
        if key in RESULTS or key in score_names()
        else Summary(len(values), mean=median(values), low=None, high=None)
    )


def several_devices(records: Mapping[str, Mapping[int, Record]]) -> bool:
    return len({record.environment.device for found in records.values() for record in found.values()}) > 1


def counted(number: int, of: str) -> str:
    """Return a number of things in words: ``1 test``, ``2 tests``."""
    return f"{number} {of}{'' if number == 1 else 's'}"


def difference(comparison: Comparison) -> str:
    """Return the difference, with its interval if it has one."""
    if comparison.difference is None:
        return ""
    interval = "" if comparison.low is None else f" [{comparison.low:+.2f}, {comparison.high:+.2f}]"
    return f"{comparison.difference:+.2f}{interval}"
