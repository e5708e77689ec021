"""Results of a study from records alone: summaries and comparisons of its arms, effects, and the notes on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import mean, median
from typing import TYPE_CHECKING

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.report import dawnbench
from bagoftricks.report.column import Column
from bagoftricks.report.dawnbench import NO_MEASURE, TIME, Measure
from bagoftricks.report.study_parts import SavedArm, SavedStudy, StudyRow, load_study
from bagoftricks.report.study_robustness import (
    ROBUSTNESS,
    measured_evaluations,
    measured_notes,
    robust_comparisons,
    robustness,
)
from bagoftricks.report.table import COST, LATENCY, RESULT, TRAIN_SECONDS
from bagoftricks.robustness.overlaps import record_overlaps
from bagoftricks.statistics.paired import Comparison, Summary, compare, summarise
from bagoftricks.store.record import Record, Scores
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.store import Store
from bagoftricks.store.weight_sets import LAST
from bagoftricks.study.arms import Arm

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effect  # its libraries take a second to import

COLUMNS: dict[str, Column] = {
    column.key: column for column in [*RESULT, *COST, *ROBUSTNESS.values(), TRAIN_SECONDS, LATENCY]
}
DEFAULT_COLUMNS = ("top1", "params", "macs", "train_images_per_s", "infer_images_per_s", "train_seconds")
RESULTS = ("top1", "top5", "loss", "ece", *ROBUSTNESS, TIME, dawnbench.TRAIN_COST)


@dataclass(frozen=True)
class StudyResults:
    """A study with the records of its finished runs by arm and seed; ``damaged``: what is wrong with the others."""

    study: SavedStudy
    records: Mapping[str, Mapping[int, Record]]  # label -> seed -> record
    measure: Measure = NO_MEASURE
    damaged: tuple[str, ...] = ()

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
        return chosen_columns(wanted or self.study.columns or DEFAULT_COLUMNS, self.known_columns, self.measure)

    def rows(self, columns: Sequence[str] = ()) -> list[StudyRow]:
        """Return a row for each arm."""
        return study_rows(self.study.arms, self.records, columns or self.columns(), self.measure)

    def arm(self, label: str) -> SavedArm:
        """Return the arm of that label."""
        return next(arm for arm in self.study.arms if arm.label == label)

    def values(self, label: str, key: str = "top1") -> dict[int, float]:
        """Return a result or a cost of an arm by seed, of those runs that have it."""
        arm = self.arm(label)
        found = {s: value(r, key, self.measure, arm.evaluation) for s, r in self.records[label].items()}
        return {seed: number for seed, number in found.items() if number is not None}

    def differences(self, label: str, key: str = "top1") -> dict[int, float]:
        """Return by seed the distance of an arm from the one it is compared with; empty without one."""
        against = self.arm(label).compare_to
        if against is None or against not in self.records:
            return {}
        own, other = self.values(label, key), self.values(against, key)
        return {seed: own[seed] - other[seed] for seed in own if seed in other}

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """Comparisons by label, corrected together: in top-1, or in the time to the measure's accuracy."""
        return comparisons(self.study.arms, self.records, self.measure)

    def effects(self) -> "list[Effect]":
        """Return main effects and two-way interactions of a factorial design over two seeds or more."""
        return effect_rows(self.study, self.records)

    def evaluations(self) -> dict[str, RobustnessResult]:
        """Return by name the evaluations on corrupted images behind the arms' numbers."""
        return measured_evaluations(self.study.arms, self.records)

    def notes(self, rows: Sequence[StudyRow] = ()) -> list[str]:
        """Return the notes on data, network, device, seeds, tests and left-out records; the command comes last.

        ``rows``: those whose robustness is shown.
        """
        robust = self.evaluations() if any(set(row.values) & set(ROBUSTNESS) for row in rows) else {}
        notes = [*footer(self.study, self.every_record, self.measure), *measured_notes(robust, rows)]
        notes += [f"left out: {damage}" for damage in self.damaged]
        return [*notes, f"made by: {self.study.command}"]


def load_results(store: Store, name: str, measure: Measure | None = None) -> StudyResults:
    """Return the results of a study in a store. Raises UserError if it is missing or damaged.

    ``measure``: another than the study's own.
    """
    study = load_study(store, name)
    records = {arm.label: arm.records(store) for arm in study.arms}
    damaged = tuple(dict.fromkeys(store.damaged))
    return StudyResults(study, records, measure or study.measure or NO_MEASURE, damaged)


def columns_by_key(measure: Measure) -> dict[str, Column]:
    """Return the columns that a table of a study can show."""
    return {**COLUMNS, **{column.key: column for column in measure.columns}}


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


def study_rows(
    arms: Sequence[SavedArm],
    records: Mapping[str, Mapping[int, Record]],
    columns: Sequence[str],
    measure: Measure = NO_MEASURE,
) -> list[StudyRow]:
    """Return one row per arm: summaries by column, published values, and comparisons, also by mCE if it is shown."""
    compared = comparisons(arms, records, measure)
    robust = robust_comparisons(arms, records) if "mce" in columns else {}
    rows = []
    for arm in arms:
        found = list(records[arm.label].values())
        every = {key: [(r.id, value(r, key, measure, arm.evaluation)) for r in found] for key in columns}
        values = {key: known for key, of in every.items() if (known := [(r, v) for r, v in of if v is not None])}
        compares = {"comparison": compared.get(arm.label), "comparison_mce": robust.get(arm.label)}
        rows.append(
            StudyRow(
                label=arm.label,
                n=len(found),
                missing=", ".join(f"needs {what}" for what in arm.needs) or ("" if found else "not run"),
                values={key: summary(key, [v for _, v in known]) for key, known in values.items()},
                runs={key: tuple(run for run, _ in known) for key, known in values.items()}
                | {name: compared_runs(made, records) for name, made in compares.items() if made},
                reached=None if measure.target is None else dawnbench.reached(found, measure.target),
                published=arm.published,
                **compares,
                overlaps=list(dict.fromkeys(why for r in found if r.robustness for why in record_overlaps(r))),
            )
        )
    return rows


def comparisons(
    arms: Sequence[SavedArm], records: Mapping[str, Mapping[int, Record]], measure: Measure
) -> dict[str, Comparison]:
    """Return by label the arm against the one it is compared with: in top-1, or in the time to an accuracy (less is
    better) if all runs of both arms reach it.
    """
    scores: dict[str, dict[int, float]] = {}
    for label, found in records.items():
        values = {seed: value(record, TIME if measure.target else "top1", measure) for seed, record in found.items()}
        if values and None not in values.values():
            scores[label] = {seed: v for seed, v in values.items() if v is not None}
    pairs = [(a.label, a.compare_to) for a in arms if a.compare_to in scores and a.label in scores]
    if measure.target is None:
        return {comparison.label: comparison for comparison in compare(scores, pairs)}
    in_seconds = compare(scores, pairs, higher_is_better=False, resolution=1.0, unit="s")
    return {comparison.label: comparison for comparison in in_seconds}


def scored(record: Record) -> Scores:
    """Return the scores that a study reports: of the average if there is exactly one, else of the last weights."""
    return record.metrics[record.reported]


def value(record: Record, key: str, measure: Measure = NO_MEASURE, evaluation: str | None = None) -> float | None:
    """Return a result or a cost of a run; ``evaluation``: the one on corrupted images that its arm requests."""
    if key in ROBUSTNESS:
        return robustness(record, key, evaluation)
    costs = {**vars(record.cost), **vars(scored(record)), **dawnbench.measure_values(record, measure)}
    found = costs.get(key)
    return None if found is None else float(found)


def compared_runs(made: Comparison, records: Mapping[str, Mapping[int, Record]]) -> tuple[str, ...]:
    """Return the ids of the runs behind a comparison: of both arms, with the seeds that both have."""
    own, other = records[made.label], records[made.against]
    return tuple(of[seed].id for of in (own, other) for seed in own if seed in other)


def summary(key: str, values: Sequence[float]) -> Summary:
    """Return the mean and interval of a result over seeds; of a cost, the median."""
    return summarise(values) if key in RESULTS else Summary(len(values), mean=median(values), low=None, high=None)


def effect_rows(study: SavedStudy, records: Mapping[str, Mapping[int, Record]]) -> "list[Effect]":
    """Main effects and two-way interactions of a factorial design over two seeds or more."""
    if study.design not in ("factorial", "fractional") or len(study.seeds) < 2:
        return []
    from bagoftricks.statistics.effects import factorial_effects

    arms = {arm.label: frozenset(arm.tricks) for arm in study.arms}
    runs = [(arms[label], seed, scored(r).top1) for label, found in records.items() for seed, r in found.items()]
    tricks = sorted(set().union(*arms.values()))
    effects = factorial_effects(runs, tricks) if len(runs) > 1 else []
    shares = shapley_shares(arms, records, tricks)
    return [replace(effect, shapley=shares.get(" ".join(effect.tricks))) for effect in effects]


def shapley_shares(
    arms: Mapping[str, frozenset[str]], records: Mapping[str, Mapping[int, Record]], tricks: Sequence[str]
) -> dict[str, float]:
    """Return each trick's share of the whole gain in top-1, the mean over the seeds that every subset was run with."""
    from bagoftricks.statistics.effects import shapley

    if len(arms) != 2 ** len(tricks):
        return {}
    seeds = set.intersection(*map(set, records.values()))  # a seed that only some arms have would count as a gain
    if not seeds:
        return {}
    means = {arms[label]: mean(scored(found[seed]).top1 for seed in seeds) for label, found in records.items()}
    return shapley(means, tricks)


def several_devices(records: Mapping[str, Mapping[int, Record]]) -> bool:
    return len({record.environment.device for found in records.values() for record in found.values()}) > 1


def footer(study: SavedStudy, records: Sequence[Record], measure: Measure = NO_MEASURE) -> list[str]:
    """Return the notes on data, network, device, seeds and tests."""
    notes = [f"paper's numbers: {study.source}"] if study.source else []
    if study.scale:
        notes.append(f"scale: {study.scale}" + ("" if study.scale == "paper" else ", not the paper's setting"))
    about: dict[str, Callable[[Record], str]] = {
        "data": lambda r: f"{r.data.name} ({r.data.train_images:,} + {r.data.val_images:,} images)",
        "network": lambda r: f"{r.model['name']} at {r.data.image_size} pixels",
        "epochs": lambda r: str(r.epochs),
        "device": lambda r: f"{r.environment.device}, torch {r.environment.torch}",
    }
    for what, of in about.items():
        said = sorted({of(record) for record in records})
        notes += [f"{what}: {'; '.join(said)}"] if said else []
    notes.append(f"seeds: {', '.join(map(str, study.seeds))}; ± and [ ]: 95 % t intervals over seeds")
    unit = "top-1 points" if measure.target is None else "seconds, where all runs of both arms reach the target"
    notes.append(
        f"differences in {unit}, paired by seed; paired t-test; verdicts by Holm-corrected p over the table, "
        "intervals each for itself"
    )
    notes += dawnbench.notes(records, measure)
    notes.append("MACs: multiply-accumulates of convolutions and matrix products, what the papers call FLOPs")
    averaged = sorted({r.reported for r in records if r.reported != LAST})
    notes += [f"arms with {name} are scored by its averaged weights" for name in averaged]
    return [*notes, *study.notes]


def gains_and_speeds(
    store: Store, name: str, candidates: Sequence[Arm]
) -> tuple[dict[str, float | None], dict[str, float]]:
    """Mean gain in top-1, paired by seed, of each candidate over its comparison arm, and median inference throughput.

    The gain of a candidate without a finished run is None.
    """
    study = load_study(store, name)
    records = {arm.label: arm.records(store) for arm in study.arms}
    gains: dict[str, float | None] = {}
    speeds: dict[str, float] = {}
    for arm in candidates:
        found, against = records[arm.label], records[str(arm.compare_to)]
        shared = sorted(set(found) & set(against))
        gained = [scored(found[seed]).top1 - scored(against[seed]).top1 for seed in shared]
        gains[arm.label] = mean(gained) if gained else None
        if found:
            speeds[arm.label] = median(record.cost.infer_images_per_s for record in found.values())
    return gains, speeds
