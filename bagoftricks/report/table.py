"""Records as tables, in the units of the papers: one row per run."""

from collections.abc import Iterable, Mapping, Sequence

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.escape import for_json
from bagoftricks.registry import Values
from bagoftricks.report.column import Column
from bagoftricks.report.dawnbench import NO_MEASURE, Measure, measure_values
from bagoftricks.report.robustness import robustness_columns
from bagoftricks.report.rows import CostRow, Row, RunRow, ScoredRow
from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import Fit
from bagoftricks.robustness.overlaps import record_overlaps
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.store.record import Record
from bagoftricks.store.robustness import ROBUSTNESS_SCORES
from bagoftricks.store.weight_sets import LAST
from bagoftricks.tricks.catalogue import card, cards, families

RESULT = [
    Column("top1", "top-1 %", "{:.2f}".format),
    Column("top5", "top-5 %", "{:.2f}".format),
    Column("loss", "loss", "{:.4f}".format),
    Column("ece", "ECE %", "{:.2f}".format),
]
COST = [
    Column("params", "params M", lambda n: f"{n / 1e6:.3f}"),
    Column("macs", "MACs G", lambda n: f"{n / 1e9:.4f}" if n < 1e8 else f"{n / 1e9:.3f}"),
    Column("train_images_per_s", "train img/s", "{:.0f}".format),
    Column("infer_images_per_s", "infer img/s", "{:.0f}".format),
    Column("peak_memory_mib", "peak MiB", "{:.0f}".format),
    Column("wall_seconds", "wall s", "{:.0f}".format),
]
RUN = [Column("label", "run"), *RESULT, *COST]
RECORDS = [
    Column("label", "tricks"),
    Column("model", "model"),
    Column("data", "data"),
    Column("epochs", "epochs"),
    Column("seed", "seed"),
    *RESULT,
    *COST,
    Column("id", "id"),
]
EVALUATION = [
    Column("label", "tricks"),
    Column("model", "model"),
    Column("data", "data"),
    Column("image_size", "pixels"),
    Column("images", "images"),
    *RESULT,
    *COST[:2],
    Column("id", "id"),
]
BENCH = [
    Column("label", "network"),
    Column("image_size", "pixels"),
    *COST[:2],
    Column("infer_images_per_s", "infer img/s", "{:.1f}".format),
    Column("infer_spread", "IQR/median", "{:.1%}".format),
    Column("latency_ms", "latency ms", "{:.2f}".format),
    Column("peak_memory_mib", "peak MiB", "{:.0f}".format),
    Column("note", "note"),
]


def label(tricks: Mapping[str, Values]) -> str:
    """Return ``baseline``, or the tricks in the catalogue's order, with those hyper-parameters that were changed.

    Tricks of plug-ins that are not loaded come last, with all that the record has of them.
    """
    order = {known.name: number for number, known in enumerate(cards())}
    names = sorted(tricks, key=lambda name: (order.get(name, len(order)), name))
    return " + ".join(_trick_label(name, tricks[name]) for name in names) or "baseline"


def _trick_label(name: str, params: Values) -> str:
    defaults = {field.name: field.default for field in card(name).fields} if name in families() else {}
    changed = [f"{key}={value}" for key, value in params.items() if key not in defaults or value != defaults[key]]
    return f"{name}({', '.join(changed)})" if changed else name


def record_rows(record: Record, measure: Measure = NO_MEASURE) -> list[RunRow]:
    """Return a row for each weight set, with the values of ``measure``."""
    name = label(record.tricks)
    return [
        RunRow(
            label=weights_label(name, weights),
            weights=weights,
            id=record.id,
            status=record.status,
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


def weights_label(name: str, weights: str) -> str:
    """Return ``name`` with the weight set that a row is of, unless it is the last weights."""
    return name if weights == LAST else f"{name} [{weights}]"


def render(rows: Sequence[Row], columns: Iterable[Column], style: str, fit: Fit | None = None) -> str:
    """Return the rows as text, markdown, csv, latex or json; csv and json keep keys, units and full precision.

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
        [c.show(cells[c.key]) + row.mark(c.key) if cells.get(c.key) is not None else "" for c in columns]
        for row, cells in known
    ]
    left = [at for at, c in enumerate(columns) if any(isinstance(cells.get(c.key), str) for _, cells in known)]
    return draw_table([c.heading for c in columns], shown, left, style, fit)


def with_robustness(
    columns: Sequence[Column], rows: Sequence[ScoredRow], keys: Sequence[str] = ROBUSTNESS_SCORES
) -> list[Column]:
    """``columns`` with those of the rows' evaluations on corrupted images after the results."""
    at = 1 + max(number for number, column in enumerate(columns) if column in RESULT)
    return [*columns[:at], *robustness_columns(rows, keys), *columns[at:]]


def record_columns(rows: Sequence[ScoredRow], names: Sequence[str] = ()) -> list[Column]:
    """Return the columns of a table of records: the defaults, or the requested ones for results and costs."""
    if not names:
        return with_robustness(RECORDS, rows)
    known = {column.key: column for column in [*RESULT, *COST]}
    robust = (*ROBUSTNESS_SCORES, "relative_mce", *corruption_names())
    chosen: list[Column] = []
    for name in names:
        if name not in known and name not in robust:
            every = [*known, *robust]
            raise UserError(f"columns: there is no '{name}'{did_you_mean(name, every)} ({', '.join(every)})")
        chosen += [known[name]] if name in known else robustness_columns(rows, [name])
    numbers = {*RESULT, *COST}
    return [*[c for c in RECORDS[:-1] if c not in numbers], *chosen, RECORDS[-1]]


def published_costs(rows: Sequence[CostRow], style: str, fit: Fit | None = None) -> str:
    """Rows of ``bot-bench`` with the ``published`` number after each of ours that a paper gives."""
    columns: list[Column] = []
    for column in BENCH:
        columns.append(column)
        if any(column.key in row.published for row in rows):
            columns.append(Column(f"{column.key}_published", f"{column.heading} (paper)", column.show))
    return render(rows, columns, style, fit)
