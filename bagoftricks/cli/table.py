"""bot-table: the records of a store as a table. Trains nothing, needs neither Hydra nor torch."""

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from bagoftricks.cli.app import run_command
from bagoftricks.cli.key_values import set_texts
from bagoftricks.cli.streams import name_left_out, say, show_result
from bagoftricks.errors import UserError
from bagoftricks.plugins import split_list

if TYPE_CHECKING:
    from pandas import DataFrame

    from bagoftricks.registry import Values
    from bagoftricks.report.dawnbench import Measure
    from bagoftricks.report.query import Query
    from bagoftricks.report.rows import RunRow
    from bagoftricks.report.text_table import Fit
    from bagoftricks.store.store import Store


class ScoreChoice(TypedDict):
    """Score that the arms of a study are compared in, and the difference that matters."""

    score: str
    resolve: float | None


NO_PLOT = "none"  # an empty plot= asks for the list of kinds
OF_ROWS = "curves"  # the picture of rows without a study
ORDER = ("model", "data", "label", "lr", "batch_size", "epochs", "seed")  # unless sort= is given


def main(argv: list[str] | None = None) -> int:
    return run_command("bot-table", argv, show_or_write)


@dataclass
class TableArguments:
    """Arguments of the command, as typed."""

    store: str = "results/runs"
    """folder of the records, or s3://BUCKET/FOLDER"""
    format: str = ""
    """text, markdown, csv, latex, html or json, alone on standard output; default: text on a terminal, else markdown"""
    file: str = ""
    """table.tex: write a file, by its suffix txt, md, csv, tex, html, json or parquet; with plot=, svg, pdf or png"""
    experiment: str = ""
    """the study that bot-sweep made of an experiment"""
    scale: str = "laptop"
    """of the experiment: laptop, or paper"""
    study: str = ""
    """the study of that name"""
    where: str = ""
    """'model=resnet50 top1>70 tricks~mixup': rows that fulfil all of it; keys: any setting, result or cost; signs: = !=
    < <= > >=, and ~ for a part of a text"""
    sort: str = ""
    """-top1: from high to low; several as sort=model,-top1"""
    limit: str = ""
    """at most this many rows"""
    columns: str = ""
    """[top1,macs]: any results, costs and settings (top1, top5, loss, ece, params, macs, train_images_per_s, lr,
    data.limit, host ...); mce, relative_mce, mfr or the name of a corruption for runs that were evaluated on corrupted
    images; time_to_accuracy of a study"""
    metric: str = ""
    """time_to_accuracy: seconds of training to target="""
    target: str = ""
    """share of right answers for time_to_accuracy"""
    price_per_hour: str = ""
    """of the device: what training and 10,000 predictions cost"""
    score: str = ""
    """of a study: compare its arms in soft_top1, loss, ece, mce ..."""
    resolve: str = ""
    """the difference that matters, in the score's unit (0.5 points)"""
    compare: str = ""
    """page or JSON of a study: what repeats here (docs/travel.md)"""
    plot: str = NO_PLOT
    """picture: forest, ladder, curves, pareto, effects, resolution or corruptions; plot= alone tells what is lacking"""
    width: str = "3.5"
    """of the picture in inches: 3.5 is a column of a paper"""

    caption: str = ""
    """of LaTeX; in it, {lock} is the digest of the study"""

    @classmethod
    def of(cls, arguments: list[str]) -> "TableArguments":
        """Read ``key=value`` arguments. Raises UserError with the nearest key."""
        chosen = cls()
        set_texts(chosen, "bot-table", arguments)
        if chosen.file and chosen.plot == NO_PLOT:
            from bagoftricks.report.table_file import style_of_file

            chosen.format = style_of_file(chosen.file, chosen.format)
        chosen.format = chosen.format or ("text" if sys.stdout.isatty() else "markdown")
        chosen.check()
        return chosen

    def check(self) -> None:
        """Raise UserError for what does not belong together."""
        from bagoftricks.report.styles import STYLES

        if self.format not in (styles := (*STYLES, "csv", "json")) and not (self.file and self.plot == NO_PLOT):
            raise UserError(f"format={self.format}: must be one of {', '.join(styles)}")
        if self.plot == NO_PLOT and self.width != TableArguments.width:
            raise UserError("width= is of a picture: add plot=forest (plot= alone lists the kinds)")
        if self.experiment and self.study:
            raise UserError("experiment= and study= are two tables: type one of them")
        for key in ("score", "resolve"):
            if getattr(self, key) and not (self.experiment or self.study):
                raise UserError(f"{key}={getattr(self, key)}: is of a study: add study=NAME")
        if self.score and (self.target or self.metric):
            raise UserError("score= and metric= are two ways to compare: type one of them")
        for key in (
            "where",
            "sort",
            "limit",
            "columns",
            "metric",
            "target",
            "price_per_hour",
            "caption",
            "score",
            "resolve",
        ):
            if self.compare and getattr(self, key):
                raise UserError(f"{key}={getattr(self, key)}: has no meaning with compare=: leave it out")
        if self.compare and self.plot != NO_PLOT:
            raise UserError("plot= and compare= are two answers: type one of them")
        if self.compare and self.format == "parquet":
            raise UserError(f"file={self.file}: a comparison is text, CSV or JSON: name it so")
        if self.caption and (self.format != "latex" or not (self.experiment or self.study)):
            raise UserError("caption=: is of a study in LaTeX: add study=NAME format=latex, or leave it out")
        if self.scale != TableArguments.scale and not self.experiment:
            raise UserError(f"scale={self.scale}: belongs to experiment=: leave it out")


def show_or_write(arguments: list[str]) -> None:
    """Print the table of a store, or of a study in it, or write it to a file."""
    chosen = TableArguments.of(arguments)
    if chosen.plot != NO_PLOT:
        show_result(picture(chosen))
        return
    made = draw(chosen)
    if not chosen.file:
        show_result(str(made))
        return
    from bagoftricks.report.table_file import write_frame, write_table

    if isinstance(made, str):
        write_table(chosen.file, made, chosen.format, chosen.study or chosen.experiment or "Runs")
    else:
        write_frame(chosen.file, made)
    say("bot-table", f"wrote {chosen.file}")


def picture(chosen: TableArguments) -> str:
    """Draw a study, or the curves of the rows; return the words of the picture, or the list of kinds."""
    from bagoftricks.cli.plot import PictureRequest
    from bagoftricks.report.dawnbench import NO_MEASURE
    from bagoftricks.report.pictures.material import runs_as_study
    from bagoftricks.report.query import Query
    from bagoftricks.report.study_results import load_results
    from bagoftricks.report.table import record_rows
    from bagoftricks.store.store import Store
    from bagoftricks.study.plan import study_name

    request = PictureRequest.of(chosen.plot, chosen.file, chosen.width, chosen.format)
    store, measure = Store(chosen.store), chosen_measure(chosen)
    query = Query.of(chosen.where, chosen.sort, chosen.limit, split_list(chosen.columns))
    if chosen.experiment or chosen.study:
        if query != Query():
            raise UserError("where=, sort=, limit= and columns= are a table's: a picture of a study shows all its arms")
        study = chosen.study or study_name(chosen.experiment, chosen.scale)
        return request.of_study(load_results(store, study, measure, **judged_by(chosen)))
    if chosen.plot not in ("", OF_ROWS):
        raise UserError(f"plot={chosen.plot} is of a study: add study=NAME (without one there is plot={OF_ROWS})")
    records = {record.id: record for record in store.records()}
    every = [row for record in records.values() for row in record_rows(record)]
    rows = selected_runs(store, [row for row in every if row.weights == records[row.id].reported], query)
    results = runs_as_study([records[row.id] for row in rows], measure or NO_MEASURE)
    return request.of_study(results, [OF_ROWS])


def draw(chosen: TableArguments) -> "str | DataFrame":
    """Return the table as text, or as a frame for Parquet."""
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.dawnbench import NO_MEASURE
    from bagoftricks.report.query import Query
    from bagoftricks.store.store import Store

    query = Query.of(chosen.where, chosen.sort, chosen.limit, split_list(chosen.columns))
    measure = chosen_measure(chosen)
    fit = None if chosen.file else terminal_fit("columns= chooses, format=markdown shows all")
    store = Store(chosen.store)
    if chosen.compare:
        return compared(chosen, store, fit)
    if not (chosen.experiment or chosen.study):
        return table_of_runs(store, query, measure or NO_MEASURE, chosen.format, fit)
    from bagoftricks.report.study import draw_study, selected_rows
    from bagoftricks.report.study_results import load_results
    from bagoftricks.study.plan import study_name

    study = chosen.study or study_name(chosen.experiment, chosen.scale)
    results = load_results(store, study, measure, **judged_by(chosen))
    if chosen.format in ("csv", "parquet"):  # the others have notes
        name_left_out("bot-table", store.damaged)
    if chosen.format == "parquet":
        from bagoftricks.report.frames import Study

        return Study(results, store).frame_of(selected_rows(results, query))
    return draw_study(results, chosen.format, query, fit, caption=chosen.caption)


def judged_by(chosen: TableArguments) -> "ScoreChoice":
    """Return the score and the difference that matters, as far as they are typed."""
    try:
        resolve = float(chosen.resolve) if chosen.resolve else None
    except ValueError as error:
        raise UserError(f"resolve={chosen.resolve}: must be a number") from error
    if resolve is not None and not 0 < resolve < math.inf:
        raise UserError(f"resolve={chosen.resolve}: must be above 0")
    return {"score": chosen.score, "resolve": resolve}


def compared(chosen: TableArguments, store: "Store", fit: "Fit | None") -> str:
    """Return which numbers of the study in a page or JSON repeat in that of the store."""
    from bagoftricks.report.replication import compare_study, replication_text
    from bagoftricks.report.study_results import load_results
    from bagoftricks.study.lock import read_lock
    from bagoftricks.study.plan import study_name, study_names

    typed = chosen.study or (study_name(chosen.experiment, chosen.scale) if chosen.experiment else "")
    lock = read_lock("compare", chosen.compare, typed)
    name = typed or lock.name
    if name == lock.name and name not in study_names(store):
        makes = f"bot-sweep from={chosen.compare} makes it, and study=NAME names another"
        raise UserError(f"store={store} holds no study '{name}': {makes}")
    return replication_text(compare_study(lock, load_results(store, name)), chosen.format, fit)


def table_of_runs(
    store: "Store", query: "Query", measure: "Measure", style: str, fit: "Fit | None"
) -> "str | DataFrame":
    """Return the table of the finished runs of a store."""
    from bagoftricks.report.differences import in_common
    from bagoftricks.report.objective import best_of_note
    from bagoftricks.report.robustness import robustness_notes
    from bagoftricks.report.row_index import choose_rows
    from bagoftricks.report.styles import with_notes
    from bagoftricks.report.table import record_rows, render, run_columns

    chosen = choose_rows(store, query, ORDER, in_order) if (query.where or query.limit) and not measure else None
    if chosen is not None and chosen.rows:
        name_left_out("bot-table", store.damaged)
        rows, every_row, every_run = chosen.rows, chosen.every_row, chosen.every_run
    else:
        every = [row for record in store.records() for row in record_rows(record, measure)]
        rows = selected_runs(store, every, query, may_be_empty=style == "json")
        every_row, every_run = len(every), len({row.id for row in every})
    if style == "parquet":
        from bagoftricks.report.frames import run_frame

        return run_frame(rows, store)
    shown = render(rows, run_columns(rows, style, query.columns, measure=measure), style, fit)
    notes = [in_common([row.facts for row in rows]), *robustness_notes(rows)]
    notes += [f"{len(rows):,} of {every_row:,} rows"] if len(rows) < every_row else []
    notes += best_of_note(query.sort[0], every_run) if query.sort else []
    return with_notes(shown, [note for note in notes if note], style, fit)


def selected_runs(store: "Store", every: "list[RunRow]", query: "Query", may_be_empty: bool = False) -> "list[RunRow]":
    """Return the rows of a store's runs that the query selects, sorted. Raises UserError if there is none."""
    from bagoftricks.report.rows import RunRow
    from bagoftricks.store.typed import default_settings

    name_left_out("bot-table", store.damaged)
    if not every and not may_be_empty:
        raise UserError(f"store={store} holds no finished run yet; bot-train makes one")
    every.sort(key=lambda row: in_order(row.cells()))
    rows = query.select(every, RunRow.cells, default_settings())
    if not rows and not may_be_empty:
        raise UserError(f"where: none of the {len(every)} rows of store={store} is like that")
    return rows


def in_order(cells: "Values") -> tuple[object, ...]:
    """Return what the rows of runs are sorted by."""
    model, data, label, *others = (cells.get(key) for key in ORDER)
    return model, data, label, *map(_rank, others)


def _rank(value: object) -> tuple[bool, float]:
    """Return what numbers are sorted by; whatever a damaged or old record has instead comes last."""
    return (False, value) if isinstance(value, int | float) else (True, 0.0)


def chosen_measure(chosen: TableArguments) -> "Measure | None":
    """Return the requested measure; None for a study's own, or none."""
    from bagoftricks.report.dawnbench import TARGET, make_measure
    from bagoftricks.settings import METRICS

    numbers: dict[str, float] = {}
    for key in ("target", "price_per_hour"):
        try:
            numbers |= {key: float(value)} if (value := getattr(chosen, key)) else {}
        except ValueError as error:
            raise UserError(f"{key}={value}: must be a number") from error
    if not chosen.metric and not numbers:
        return None
    metric = chosen.metric or METRICS["target" in numbers]
    return make_measure(metric, numbers.get("target", TARGET), numbers.get("price_per_hour"))


if __name__ == "__main__":
    sys.exit(main())
