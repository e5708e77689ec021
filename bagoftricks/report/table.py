"""Records as tables, in the units of the papers: one row per run."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.escape import for_json
from bagoftricks.plugins import typed_text
from bagoftricks.registry import all_cards
from bagoftricks.report.column import Column, TracedText
from bagoftricks.report.dawnbench import NO_MEASURE, Measure, measure_values
from bagoftricks.report.differences import differing
from bagoftricks.report.labels import label, preset_of, short_label, weights_label
from bagoftricks.report.robustness import robustness_columns
from bagoftricks.report.rows import CostRow, Row, RunRow, ScoredRow
from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import Fit
from bagoftricks.robustness.overlaps import record_overlaps
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.store.record import Environment, Record
from bagoftricks.store.robustness import ROBUSTNESS_SCORES
from bagoftricks.store.survey import SHORT_ID
from bagoftricks.store.typed import environment_by_key, record_settings

RESULT = [
    Column("top1", "top-1 %", "{:.2f}".format),
    Column("top5", "top-5 %", "{:.2f}".format),
    Column("loss", "loss", "{:.4f}".format),
    Column("ece", "ECE %", "{:.2f}".format),
    Column("soft_top1", "soft top-1 %", "{:.2f}".format),
]
DEFAULT_RESULT = RESULT[:-1]  # where no columns are asked for, but in CSV
FIRST_RESULTS = 4  # of another task's scores, where no columns are asked for
COST = [
    Column("params", "params M", lambda n: f"{n / 1e6:.3f}"),
    Column("macs", "MACs G", lambda n: f"{n / 1e9:.4f}" if n < 1e8 else f"{n / 1e9:.3f}"),
    Column("train_images_per_s", "train img/s", "{:.0f}".format),
    Column("infer_images_per_s", "infer img/s", "{:.0f}".format),
    Column("peak_memory_mib", "peak MiB", "{:.0f}".format),
    Column("wall_seconds", "wall s", "{:.0f}".format),
]
INT8 = Column("infer_images_per_s_int8", "int8 infer img/s", "{:.1f}".format)
LATENCY = Column("latency_ms", "latency ms", "{:.2f}".format)
TRAIN_SECONDS = Column("train_seconds", "train s", "{:.0f}".format)

ROW_KEYS = (  # of runs, next to those of settings
    *(column.key for column in [*RESULT, *COST, LATENCY, TRAIN_SECONDS]),
    *("label", "tricks", "preset", "id", "parent", "weights", "model", "data", "epochs", "seed"),
    *(field.name for field in fields(Environment)),
)
BENCH = [
    Column("label", "network"),
    Column("image_size", "pixels"),
    *COST[:2],
    Column("infer_images_per_s", "infer img/s", "{:.1f}".format),
    Column("infer_spread", "IQR/median", "{:.1%}".format),
    INT8,
    LATENCY,
    Column("peak_memory_mib", "peak MiB", "{:.0f}".format),
    Column("note", "note"),
]


def task_first_scores() -> set[str]:
    """Return the key of each task's first score."""
    return {next(iter(card.scores)) for card in all_cards("task").values() if card.scores}


def task_results(most: int | None = None) -> list[Column]:
    """Return columns for the scores of tasks other than classification, the first ``most`` of each."""
    of_classes = {column.key for column in RESULT}
    tasks = [list(card.scores.items())[:most] for card in all_cards("task").values()]
    named = {key: name for scores in tasks for key, name in scores if key not in of_classes}
    return [Column(key, f"{name} %", "{:.2f}".format) for key, name in named.items()]


def evaluation_columns() -> list[Column]:
    """Return the columns of evaluated weights; those of scores that no row has are left out."""
    about = [Column("label", "tricks"), RESULT[0]]
    facts = [
        Column("model", "model"),
        Column("data", "data"),
        Column("image_size", "pixels"),
        Column("images", "images"),
    ]
    return [*about, *task_results(), *facts, *DEFAULT_RESULT[1:], *COST[:2], Column("id", "id")]


def record_rows(record: Record, measure: Measure = NO_MEASURE) -> list[RunRow]:
    """Return a row for each weight set, with the values of ``measure``."""
    name, preset = label(record.tricks), preset_of(record.command) or None
    shown = short_label(record.tricks, record.command, record.data.teacher)
    settings = record_settings(record)
    facts = {**environment_by_key(record), **settings, "parent": record.parent.id if record.parent else None}
    return [
        RunRow(
            label=weights_label(name, weights),
            shown=weights_label(shown, weights),
            preset=preset,
            tricks=record.tricks,
            settings=settings,
            facts=facts,
            weights=weights,
            id=record.id,
            status=record.status,
            command=record.command,
            reported=weights == record.reported,
            model=record.model["name"],
            data=record.data.name,
            epochs=record.epochs,
            seed=record.seed,
            cost=record.cost,
            scores=scores,
            robustness={name: found for name, found in record.robustness.items() if weights in found.weights},
            overlaps=tuple(record_overlaps(record)) if record.robustness else (),
            measured=measure_values(record, measure, weights),
        )
        for weights, scores in record.metrics.items()
    ]


def render(rows: Sequence[Row], columns: Iterable[Column], style: str, fit: Fit | None = None) -> str:
    """Return the rows in a style of ``format=``; csv and json keep keys, units and full precision.

    A text table shows the first columns that ``fit``.
    """
    if style == "json":
        return for_json([row.values() for row in rows])
    known = [(row, row.cells()) for row in rows]
    columns = [column for column in columns if any(column.key in cells for _, cells in known)]
    if style == "csv":
        keys = [column.key for column in columns]
        return draw_table(keys, [[cells.get(key) for key in keys] for _, cells in known], (), style)
    shown = [
        [
            TracedText(c.show(cells[c.key]) + row.mark(c.key), row.runs) if cells.get(c.key) is not None else ""
            for c in columns
        ]
        for row, cells in known
    ]
    left = [at for at, c in enumerate(columns) if any(isinstance(cells.get(c.key), str) for _, cells in known)]
    return draw_table([c.heading for c in columns], shown, left, style, fit)


def with_robustness(
    columns: Sequence[Column], rows: Sequence[ScoredRow], keys: Sequence[str] = ROBUSTNESS_SCORES
) -> list[Column]:
    """``columns`` with those of the rows' evaluations on corrupted images after the results."""
    scores = {column.key for column in [*RESULT, *task_results()]}
    at = 1 + max(number for number, column in enumerate(columns) if column.key in scores)
    return [*columns[:at], *robustness_columns(rows, keys), *columns[at:]]


def run_columns(
    rows: Sequence[RunRow],
    style: str,
    chosen: Sequence[str] = (),
    *,
    measure: Measure = NO_MEASURE,
    scores: Sequence[str] = ROBUSTNESS_SCORES,
) -> list[Column]:
    """Return the columns of a table of runs, the most important first: results, ids, what differs among them, costs.

    ``chosen`` replaces results and costs by any keys of the rows. Raises UserError for others.
    """
    of_measure = measure.columns if measure else ()
    differ = differing([row.facts for row in rows], [(row.shown, row.weights) for row in rows])
    wanted = [column for key in chosen for column in _chosen(key, rows)]
    if style == "csv":
        name = [
            Column("label", "label"),
            *([Column("shown", "shown")] if any(r.shown != r.label for r in rows) else []),
        ]
        always = [Column(key, key) for key in ("model", "data", "epochs", "seed")]
        others = [column for column in differ if column.key not in {c.key for c in always}]
        numbers = wanted or with_robustness([*RESULT, *task_results(), *COST], rows, scores)
        return [*name, *always, *others, *numbers, *of_measure, Column("id", "id")]
    ids = Column("id", "id", str if style != "text" else _shortened({row.id for row in rows}))
    differ = [column for column in differ if column.key not in chosen]
    if wanted:
        return [Column("shown", "run"), *wanted, *of_measure, *([] if "id" in chosen else [ids]), *differ]
    of_tasks = task_results(FIRST_RESULTS)
    leading = [column for column in of_tasks if column.key in task_first_scores()]
    first = [Column("shown", "run"), RESULT[0], *leading, *of_measure, ids]
    others = [column for column in of_tasks if column not in leading]
    return with_robustness([*first, *differ, *DEFAULT_RESULT[1:], *others, *COST], rows, scores)


def _chosen(key: str, rows: Sequence[RunRow]) -> list[Column]:
    """Return the columns of a result, a cost, a setting, or a score of each evaluation on corrupted images."""
    numbers = {column.key: column for column in [*RESULT, *task_results(), *COST, LATENCY, TRAIN_SECONDS]}
    if key in numbers:
        return [numbers[key]]
    robust = (*ROBUSTNESS_SCORES, "relative_mce", *corruption_names())
    if key in robust:
        return robustness_columns(rows, [key])
    known = dict.fromkeys([*numbers, *robust, *(key for row in rows for key in row.cells())])
    if key not in known:
        results = ", ".join([*numbers, *robust])
        near = did_you_mean(key, known) or " (any setting, as lr or data.limit, or a result or cost)"
        raise UserError(f"columns: there is no '{key}'{near} ({results})")
    return [Column(key, key, typed_text)]


def _shortened(ids: Collection[str]) -> Callable[[str], str]:
    """Return what shortens ids to beginnings that still tell them apart."""
    longest = max(map(len, ids), default=0)
    length = next((n for n in range(SHORT_ID, longest) if len({each[:n] for each in ids}) == len(ids)), longest)
    return lambda each: each[:length]


def with_differences(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Return ``columns`` with one for each setting that differs among the rows after the label."""
    known = {"model", *(column.key for column in columns)}  # the label of these rows names the network
    found = differing([row.facts for row in rows], [row.label for row in rows])
    return [columns[0], *(column for column in found if column.key not in known), *columns[1:]]


def published_costs(rows: Sequence[CostRow], style: str, fit: Fit | None = None) -> str:
    """Rows of ``bot-bench`` with the ``published`` number after each of ours that a paper gives."""
    columns: list[Column] = []
    for column in BENCH:
        columns.append(column)
        if any(column.key in row.published for row in rows):
            columns.append(Column(f"{column.key}_published", f"{column.heading} (paper)", column.show))
    return render(rows, columns, style, fit)
