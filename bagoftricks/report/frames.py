"""Records and studies as pandas frames: units in the names of columns, notes and provenance in ``attrs``."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bagoftricks import __version__
from bagoftricks.errors import UserError
from bagoftricks.plugins import typed_text
from bagoftricks.registry import score_names
from bagoftricks.report.dawnbench import TIME
from bagoftricks.report.labels import short_label, weights_label
from bagoftricks.report.robustness import describe_evaluation
from bagoftricks.report.rows import RunRow
from bagoftricks.report.study import alias_text, all_runs, draw_study, flatten
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_parts import StudyRow
from bagoftricks.report.study_results import StudyResults, load_results
from bagoftricks.report.study_robustness import ROBUSTNESS
from bagoftricks.report.styles import STYLES
from bagoftricks.report.table import record_rows
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import Cost, CurvePoint, Record
from bagoftricks.store.store import METRICS, Store, read_metrics

if TYPE_CHECKING:
    from bagoftricks.report.pictures.drawing import Drawing

UNITS = {
    **dict.fromkeys(("top1", "top5", "ece", "soft_top1", *ROBUSTNESS), "percent"),
    **dict.fromkeys(("loss", "train_loss"), "nats"),
    TIME: "seconds",
}
ENDING = re.compile("(.*?)((?:_low|_high|_published)?(?::.*)?)", re.DOTALL)
RUN_COLUMNS = ("id", "label", "seed", "weights")
CURVE_COLUMNS = (*RUN_COLUMNS, "epoch", "steps", "train_seconds", "top1_percent")
EFFECT_COLUMNS = ("effect", "estimate_points", "estimate_points_low", "estimate_points_high", "p_adjusted", "verdict")
FIRST_COLUMNS = ("id", "label", "preset", "model", "data", "epochs", "seed", "weights", "reported", "status", "command")


def results(store: str | Path = "results/runs") -> pd.DataFrame:
    """Return a row for each weight set of each finished run: scores, costs, then settings and machine by key.

    Accuracies and errors are in percent, ``loss`` in nats. A setting is a column as it is typed (``lr``,
    ``data.limit``, ``tricks.mixup.alpha``; ``tricks.mixup`` is true where the trick is on). The weight sets that a
    study reports have ``reported``. Raises UserError for a store that does not exist.
    """
    source = Store(store)
    return run_frame([row for record in source.records() for row in record_rows(record)], source)


def run_frame(rows: Iterable[RunRow], store: Store) -> pd.DataFrame:
    """Return rows of runs as a frame."""
    return _frame([{**_run_values(row), **row.settings} for row in rows], store, columns=FIRST_COLUMNS)


def curves(store: str | Path = "results/runs") -> pd.DataFrame:
    """Return a row for each evaluation of each finished run: epoch, steps, seconds of training, scores and losses."""
    source = Store(store)
    rows = [row for record in source.records() for row in _curve_rows(record, source)]
    return _frame(rows, source, columns=CURVE_COLUMNS)


def corruptions(store: str | Path = "results/runs") -> pd.DataFrame:
    """Return a row for each corruption and severity of each evaluation of each finished run: the error in percent.

    Perturbations have one row each, with their flip probability and no severity. ``attrs["notes"]`` has the protocol
    of each evaluation.
    """
    source, rows = Store(store), []
    notes: dict[str, None] = {}
    for record in source.records():
        for name, result in record.robustness.items():
            notes[describe_evaluation(result, name)] = None
            what = "flip_probability_percent" if result.of_flips else "error_percent"
            rows += [
                {**_about(record, weights), "evaluation": name, "corruption": corruption}
                | ({} if result.of_flips else {"severity": severity}) | {what: error}
                for weights, scores in result.weights.items()
                for corruption, errors in scores.parts.items()
                for severity, error in enumerate(errors, 1)
            ]  # fmt: skip
    return _frame(rows, source, notes, columns=(*RUN_COLUMNS, "evaluation", "corruption", "severity", "error_percent"))


def _share_values(results: StudyResults, tricks: tuple[str, ...]) -> Json:
    found, of = results.shares.get(tricks[0]) if len(tricks) == 1 else None, f"share_{_unit(results)}"
    return {of: found and found.value, f"{of}_low": found and found.low, f"{of}_high": found and found.high}


def study(name: str, store: str | Path = "results/runs") -> "Study":
    """Return a study of a store. Raises UserError if it is missing or damaged."""
    source = Store(store)
    return Study(load_results(source, name), source)


class Study:
    """Results of a study as frames; a notebook shows its table."""

    def __init__(self, results: StudyResults, store: Store) -> None:
        self.results, self.store = results, store

    @property
    def name(self) -> str:
        """Name of the study in its store."""
        return self.results.study.name

    @property
    def notes(self) -> list[str]:
        """Failed runs; notes on data, network, device, seeds and tests, and the command that made the study."""
        unfinished = [line for arm in self.results.study.arms for line in arm.unfinished(self.store)]
        return [*unfinished, *study_notes(self.results, self.results.rows())]

    @cached_property
    def arms(self) -> pd.DataFrame:
        """A row for each arm: means with 95 % intervals, published values, and the comparison with another arm."""
        return self.frame_of(self.results.rows())

    def frame_of(self, rows: Iterable[StudyRow]) -> pd.DataFrame:
        """Return rows of arms as a frame, without the columns of intervals and comparisons that none has."""
        ids = {label: tuple(record.id for record in found.values()) for label, found in self.results.records.items()}
        values = [{**_arm_values(flatten(row), self.results), "runs": ids[row.label]} for row in rows]
        made = _frame(values, self.store, self.notes, self.results)
        empty = [name for name in made if made[name].isna().all() and re.search("^mce_|_low$|_high$", name)]
        return made.drop(columns=empty)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row for each finished run, of the weight set that the study reports; differences are paired by seed."""
        rows = []
        for label, found in self.results.records.items():
            differences = self.results.differences(label)
            for seed, record in found.items():
                (row,) = (row for row in record_rows(record, self.results.measure) if row.reported)
                own = {"arm": label, "seed": seed, "difference_points": differences.get(seed)}
                rows.append({**own, **_run_values(row)})
        return _frame(rows, self.store, self.notes, self.results, columns=("arm", "seed", "difference_points"))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row for each evaluation of each run."""
        found = self.results.records.items()
        rows = [{"arm": arm, **row} for arm, of in found for r in of.values() for row in _curve_rows(r, self.store)]
        return _frame(rows, self.store, (), self.results, columns=("arm", *CURVE_COLUMNS))

    @cached_property
    def effects(self) -> pd.DataFrame:
        """A row for each main effect and interaction, in the score's unit; empty unless the design is factorial."""
        of = f"estimate_{_unit(self.results)}"
        rows = [
            {
                "effect": " x ".join(effect.tricks),
                of: effect.estimate,
                f"{of}_low": effect.low,
                f"{of}_high": effect.high,
                "p_adjusted": effect.p_adjusted,
                "verdict": effect.verdict,
                **_share_values(self.results, effect.tricks),
                "aliased_with": alias_text(effect),
                "runs": all_runs(self.results),
            }
            for effect in self.results.effects.rows
        ]
        return _frame(rows, self.store, self.notes, self.results, columns=EFFECT_COLUMNS)

    def table(self, style: str = "text") -> str:
        """Return the table as bot-table prints it: ``style`` is text, markdown, latex, html, csv or json."""
        if style not in (styles := (*STYLES, "csv", "json")):
            raise UserError(f"style={style}: must be one of {', '.join(styles)}")
        return draw_study(self.results, style)

    def plot(self, kind: str = "forest") -> "Drawing":
        """Return a picture, which a notebook shows; its ``figure`` is matplotlib's.

        Raises UserError for a kind that is unknown or that the records do not support.
        """
        from bagoftricks.report.pictures.registry import study_picture

        return study_picture(kind, self.results)

    def _repr_html_(self) -> str:
        return draw_study(self.results, "html")

    def __repr__(self) -> str:
        return draw_study(self.results, "text")


def _about(record: Record, weights: str) -> Json:
    name = weights_label(short_label(record.tricks, record.command, record.data.teacher), weights)
    return {"id": record.id, "label": name, "seed": record.seed, "weights": weights}


def _run_values(row: RunRow) -> Json:
    """Return what identifies a run, then its scores, costs and machine, without the settings."""
    cells = {key: value for key, value in row.cells().items() if key not in ("shown", "tricks", *row.settings)}
    about = {key: getattr(row, key) for key in FIRST_COLUMNS}
    scores = {key: value for key, value in cells.items() if _base(key) in UNITS}
    costs = {key: value for key, value in cells.items() if key in Cost.__dataclass_fields__}
    return {**about, **scores, **costs, **{key: value for key, value in cells.items() if key not in about}}


def _curve_rows(record: Record, store: Store) -> list[Json]:
    """Return the evaluations of a run: those of its metrics file, or the accuracies in its record without one."""
    try:
        rows = read_metrics(store.folder(record.id) / METRICS)
        whole: list[Json] = [
            {"weights": row["weights"]} | {key: _number(value) for key, value in row.items() if key != "weights"}
            for row in rows
        ]
    except (ValueError, TypeError, KeyError):  # damaged
        whole = []
    names = CurvePoint.__dataclass_fields__
    keys = {"score": record.first}
    points: list[Json] = [{keys.get(name, name): getattr(point, name) for name in names} for point in record.cost.curve]
    return [{**_about(record, row["weights"]), **row} for row in whole or points]


def _number(text: str) -> float | None:
    number = float(text)
    return None if not math.isfinite(number) else int(number) if number.is_integer() and "." not in text else number


def _base(key: str) -> str:
    """Return the key of a score without the name of its evaluation."""
    return key.partition(":")[0]


def _unit(results: StudyResults) -> str:
    """Return the unit of the study's score as names of columns have it."""
    unit = results.score.unit
    return "seconds" if unit == "s" else unit.replace("/", "_per_").lower()


def _arm_values(row: Mapping[str, Any], results: StudyResults) -> Json:
    """Return a row of an arm whose comparisons have the names of columns: ``difference_points_low``."""
    unit = _unit(results)
    found: Json = {"arm": row["label"]}
    for key, value in row.items():
        _, compared, name = key.partition("compared_")
        if not compared:
            found |= {key: value} if key != "label" else {}
            continue
        prefix, of = ("mce_", "points") if name.startswith("mce_") else ("", unit)
        name = name.removeprefix("mce_")
        if name in ("difference", "low", "high"):
            name = f"difference_{of}" + ("" if name == "difference" else f"_{name}")
        found[prefix + name] = value
    return found


def _frame(
    rows: Iterable[Mapping[str, Any]],
    store: Store,
    notes: Iterable[str] = (),
    results: StudyResults | None = None,
    columns: Iterable[str] = (),
) -> pd.DataFrame:
    """Return the rows as a frame whose columns have one type each, with its provenance in ``attrs``.

    ``columns``: those of a frame without rows.
    """
    made = pd.DataFrame([{_named(key): value for key, value in row.items()} for row in rows], dtype=object)
    made = pd.DataFrame(columns=list(columns)) if made.empty else made
    for name in made.columns:
        made[name] = _settled(made[name])
    made.attrs = {"notes": list(notes), "store": str(store), "bagoftricks": __version__}
    made.attrs |= {"left_out": list(dict.fromkeys(store.damaged))}
    if results is not None:
        made.attrs |= {"study": results.study.name, "command": results.study.command, "source": results.study.source}
    return made


def _named(key: str) -> str:
    """Return the name of a column: the key with its unit before ``_low``, ``_published`` and the evaluation."""
    base, ending = ENDING.fullmatch(key).groups()  # type: ignore[union-attr]
    units = {**dict.fromkeys(score_names(), "percent"), **UNITS}
    return f"{base}_{units[base]}{ending}" if base in units else key


def _settled(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column of one type: whole numbers stay whole where some are missing, mixed values become text."""
    known = [value for value in column if not _is_missing(value)]
    kinds, whole = {type(value) for value in known}, len(known) == len(column)
    if kinds and kinds <= {int, float}:
        return column.astype("float64" if float in kinds else "int64" if whole else "Int64")
    if kinds == {bool}:
        return column.astype("bool" if whole else "boolean")
    if len(kinds) > 1 or kinds & {list, dict}:
        column = column.map(lambda value: None if _is_missing(value) else typed_text(value))
    return column.infer_objects()


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
