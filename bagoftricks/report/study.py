"""A study's records as the papers' tables: mean over seeds, the published number, and what can be concluded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import TYPE_CHECKING

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.escape import for_json
from bagoftricks.report import dawnbench
from bagoftricks.report.column import Column
from bagoftricks.report.dawnbench import NO_MEASURE, TIME, Measure
from bagoftricks.report.query import Query
from bagoftricks.report.robustness import score_heading
from bagoftricks.report.rows import ScoredRow
from bagoftricks.report.study_parts import SavedArm, SavedStudy, StudyRow, load_study
from bagoftricks.report.study_robustness import (
    ROBUSTNESS,
    measured_evaluations,
    measured_notes,
    robust_comparisons,
    robustness,
)
from bagoftricks.report.styles import draw_table, title_line, with_notes
from bagoftricks.report.table import COST, LATENCY, RESULT, TRAIN_SECONDS
from bagoftricks.report.text_table import Fit
from bagoftricks.robustness.overlaps import record_overlaps
from bagoftricks.statistics.paired import Comparison, Summary, compare, summarise
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import Record, Scores
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.store import Store
from bagoftricks.store.weight_sets import LAST
from bagoftricks.study.arms import Arm

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effect  # its libraries take a second to import

MORE = [
    *ROBUSTNESS.values(),
    TRAIN_SECONDS,
    LATENCY,
]
COLUMNS: dict[str, Column] = {column.key: column for column in [*RESULT, *COST, *MORE]}
DEFAULT_COLUMNS = ("top1", "params", "macs", "train_images_per_s", "infer_images_per_s", "train_seconds")
MEASURED_ON_DEVICE = (
    *("train_images_per_s", "infer_images_per_s", "peak_memory_mib", "train_seconds", "wall_seconds"),
    *(TIME, "latency_ms", dawnbench.TRAIN_COST, dawnbench.INFER_COST),
)
ALL = Query()
RESULTS = ("top1", "top5", "loss", "ece", *ROBUSTNESS, TIME, dawnbench.TRAIN_COST)


def study_report(
    store: Store,
    name: str,
    style: str,
    query: Query = ALL,
    measure: Measure | None = None,
    fit: Fit | None = None,
) -> str:
    """Return the table of a study with its notes, from records alone.

    ``query`` and ``measure``: columns and a measure other than the study's own, and which arms to show in which order.
    """
    study = load_study(store, name)
    measure = measure or study.measure or NO_MEASURE
    records = {arm.label: arm.records(store) for arm in study.arms}
    known = columns_by_key(measure)
    columns = chosen_columns(query.columns or study.columns or DEFAULT_COLUMNS, known, measure)
    every = study_rows(study.arms, records, columns, measure)
    rows = query.select(every, arm_values, instead="a study's rows are arms; bot-table without study= has the runs")
    if every and not rows and style != "json":
        raise UserError(f"where: none of the {len(every)} arms of the study is like that")
    effects = effect_rows(study, records)
    notes = footer(study, [record for found in records.values() for record in found.values()], measure)
    robust = measured_evaluations(study.arms, records) if set(columns) & set(ROBUSTNESS) else {}
    notes[-1:-1] = measured_notes(robust, rows)
    notes += [f"{len(rows)} of {len(every)} arms; the tests are over all of them"] if len(rows) < len(every) else []
    notes += [f"left out: {damage}" for damage in dict.fromkeys(store.damaged)]
    if style == "json":
        return for_json({"study": study.whole, "rows": rows, "effects": effects, "notes": notes})
    if style == "csv":
        return tabulate_rows([flatten(row) for row in rows], style)
    headings = study_headings(columns, known, robust)
    cells = [shown_row(row, headings, several_devices(records)) for row in rows]
    if style == "text":
        against = against_note(rows)
        notes[:0] = [against] if against else []
        told = {"against"} if against else set()
        told |= {"n"} if all(row.n == len(study.seeds) for row in rows) else set()
        cells = [{key: cell for key, cell in row.items() if key not in told} for row in cells]
    shown = tabulate_rows(cells, style, fit)
    parts = [title_line(study.title or study.name, style, fit), shown]
    if effects:
        parts += ["", tabulate_rows([shown_effect(effect) for effect in effects], style, fit)]
    return with_notes("\n".join(parts), notes, style, fit)


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
        values = {key: [value(record, key, measure, arm.evaluation) for record in found] for key in columns}
        rows.append(
            StudyRow(
                label=arm.label,
                n=len(found),
                missing=", ".join(f"needs {what}" for what in arm.needs) or ("" if found else "not run"),
                values={key: summary(key, present(v)) for key, v in values.items() if present(v)},
                reached=None if measure.target is None else dawnbench.reached(found, measure.target),
                published=arm.published,
                comparison=compared.get(arm.label),
                comparison_mce=robust.get(arm.label),
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


def study_headings(
    columns: Sequence[str], known: Mapping[str, Column], robust: Mapping[str, RobustnessResult]
) -> list[Column]:
    """Return the columns, with the measured images in the heading of the robustness."""
    found = [known[key] for key in columns]
    if len(robust) != 1:
        return found
    ((name, result),) = robust.items()
    scored = result.score
    return [c._replace(heading=score_heading(result, name)) if c.key == scored else c for c in found]


def present(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def summary(key: str, values: Sequence[float]) -> Summary:
    """Return the mean and interval of a result over seeds; of a cost, the median."""
    return summarise(values) if key in RESULTS else Summary(len(values), mean=median(values), low=None, high=None)


def shown_row(row: StudyRow, columns: Sequence[Column], several: bool) -> dict[str, str]:
    """Return the cells of a row by heading, the most important first: a terminal may have no room for the last."""
    first, *others = columns
    cells = {"arm": row.label} | _column_cells(row, first, several, row.missing)
    comparison = row.comparison
    cells["difference [95 %]"] = difference(comparison) if comparison else ""
    cells["verdict"] = comparison.verdict if comparison else ""
    cells["p (Holm)"] = "" if not comparison or comparison.p_holm is None else f"{comparison.p_holm:.3f}"
    cells["n"] = str(row.n)
    robust = row.comparison_mce
    for column in others:
        cells |= _column_cells(row, column, several, "")
        if column.key == "mce":
            cells["mCE difference [95 %]"] = difference(robust) if robust else ""
            cells["mCE verdict"] = robust.verdict if robust else ""
            cells["mCE p (Holm)"] = "" if not robust or robust.p_holm is None else f"{robust.p_holm:.3f}"
    return {**cells, "against": comparison.against if comparison else ""}


def against_note(rows: Sequence[StudyRow]) -> str:
    """Return what all rows are compared with, in words; an empty text if it takes a column to say."""
    above = ["", *(row.label for row in rows)]
    pairs = [(above[at], row.comparison.against) for at, row in enumerate(rows) if row.comparison]
    if len({against for _, against in pairs}) == 1 and len(pairs) > 1:
        return f"differences are against {pairs[0][1]}"
    return (
        "differences are against the row above" if pairs and all(before == against for before, against in pairs) else ""
    )


def _column_cells(row: StudyRow, column: Column, several: bool, missing: str) -> dict[str, str]:
    """Return the cell of a result or a cost, ``missing`` without one, and that of the paper's value."""
    key, found = column.key, row.values.get(column.key)
    where = " (several devices)" if several and key in MEASURED_ON_DEVICE else ""
    doubt = ScoredRow.MARK if key in ROBUSTNESS and row.overlaps else ""
    cell = spread(column, found) + doubt if found else missing
    published = row.published.get(key)
    return {
        column.heading + where: f"{cell} {share(row)}".strip() if key == TIME and row.n else cell,
        f"{COLUMNS.get(key, column).heading} (paper)": "" if published is None else column.show(published),
    }


def spread(column: Column, found: Summary) -> str:
    """Return the mean, with half of its interval if it has one."""
    mean = column.show(found.mean)
    if found.low is None or found.high is None:
        return mean
    return f"{mean} ± {column.show((found.high - found.low) / 2)}"


def share(row: StudyRow) -> str:
    """Return the share of the runs with a learning curve that reach the target."""
    how_many, runs = row.reached or (0, 0)
    return f"({how_many} of {runs})" if how_many else f"not reached (0 of {runs})" if runs else ""


def difference(comparison: Comparison) -> str:
    """Return the difference, with its interval if it has one."""
    if comparison.difference is None:
        return ""
    interval = "" if comparison.low is None else f" [{comparison.low:+.2f}, {comparison.high:+.2f}]"
    return f"{comparison.difference:+.2f}{interval}"


def tabulate_rows(rows: Sequence[Mapping[str, object]], style: str, fit: Fit | None = None) -> str:
    """Rows with the columns that have something in them; a row may lack some."""
    known = dict.fromkeys(key for row in rows for key in row)
    headings = [key for key in known if any(row.get(key) not in ("", None) for row in rows)]
    cells = [[row.get(key, "") for key in headings] for row in rows]
    words = {"arm", "against", "verdict", "mCE verdict", "effect", "aliased with", "state", "tricks", "id"}
    return draw_table(headings, cells, [at for at, heading in enumerate(headings) if heading in words], style, fit)


def flatten(row: StudyRow) -> Json:
    """Return a row for CSV: one number per cell, in the units of the keys."""
    flat: Json = {"label": row.label, "n": row.n, "missing": row.missing}
    if row.reached is not None:
        flat |= dict(zip(("reached", "reached_of"), row.reached, strict=True))
    for key, found in row.values.items():
        flat |= {key: found.mean, f"{key}_low": found.low, f"{key}_high": found.high}
    flat |= {f"{key}_published": number for key, number in row.published.items()}
    names = ("against", "difference", "low", "high", "p", "p_holm", "verdict")
    flat |= {f"compared_{name}": getattr(row.comparison, name, None) for name in names}
    return flat | {f"compared_mce_{name}": getattr(row.comparison_mce, name, None) for name in names}


def arm_values(row: StudyRow) -> Json:
    """Return the values of an arm by the keys of ``where=`` and ``sort=``."""
    compared = {key: getattr(row.comparison, key, None) for key in ("difference", "p_holm", "verdict", "against")}
    return {"arm": row.label, "n": row.n, **{key: found.mean for key, found in row.values.items()}, **compared}


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


def shown_effect(effect: "Effect") -> dict[str, str]:
    """Return the cells of an effect."""
    estimate = "not estimable" if effect.estimate is None else f"{effect.estimate:+.2f}"
    interval = "" if effect.low is None else f" [{effect.low:+.2f}, {effect.high:+.2f}]"
    return {
        "effect": " x ".join(effect.tricks),
        "top-1 points [95 %]": estimate + interval,
        "p (Holm)": "" if effect.p_holm is None else f"{effect.p_holm:.3f}",
        "Shapley share": "" if effect.shapley is None else f"{effect.shapley:+.2f}",
        "aliased with": ", ".join(" x ".join(other) for other in effect.aliased_with),
    }


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
    notes += study.notes
    return [*notes, f"made by: {study.command}"]


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
