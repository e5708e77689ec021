"""bot-table: the records of a store as a table. Trains nothing, needs neither Hydra nor torch."""

import sys
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from bagoftricks.cli.app import run_command
from bagoftricks.cli.streams import name_left_out, show_result
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.plugins import split_list

if TYPE_CHECKING:
    from bagoftricks.report.dawnbench import Measure


def main(argv: list[str] | None = None) -> int:
    return run_command("bot-table", argv, lambda rest: show_result(table(rest)))


@dataclass
class TableArguments:
    """Arguments of the command, as typed."""

    store: str = "results/runs"
    """folder of the records"""
    format: str = ""
    """text, markdown, csv, latex or json (alone on standard output); default: text on a terminal, else markdown"""
    experiment: str = ""
    """the study that bot-sweep made of an experiment"""
    scale: str = "laptop"
    """of the experiment: laptop, or paper"""
    study: str = ""
    """the study of that name"""
    columns: str = ""
    """[top1,macs]: also top5, loss, ece, params, train_images_per_s, infer_images_per_s, latency_ms, peak_memory_mib,
    train_seconds and time_to_accuracy (of a study), wall_seconds; mce, relative_mce, mfr or the name of a corruption
    for runs that were evaluated on corrupted images"""
    metric: str = ""
    """time_to_accuracy: the seconds in training to target=, as DAWNBench counts them"""
    target: str = ""
    """share of right answers for time_to_accuracy"""
    price_per_hour: str = ""
    """of the device: what training and 10,000 predictions cost"""

    @classmethod
    def of(cls, arguments: list[str]) -> "TableArguments":
        """Read ``key=value`` arguments. Raises UserError with the nearest key."""
        chosen = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals or key not in vars(chosen):
                raise UserError(f"'{argument}' is not a setting{did_you_mean(key, vars(chosen))} (bot-table --help)")
            setattr(chosen, key, value)
        return chosen


def table(arguments: list[str]) -> str:
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.report.dawnbench import NO_MEASURE
    from bagoftricks.report.robustness import robustness_notes
    from bagoftricks.report.styles import STYLES, with_notes
    from bagoftricks.report.table import record_columns, record_rows, render
    from bagoftricks.store.store import Store

    chosen = TableArguments.of(arguments)
    styles = [*STYLES, "csv", "json"]
    chosen.format = chosen.format or ("text" if sys.stdout.isatty() else "markdown")
    if chosen.format not in styles:
        raise UserError(f"format={chosen.format}: must be one of {', '.join(styles)}")
    if chosen.experiment and chosen.study:
        raise UserError("experiment= and study= are two tables: type one of them")
    if chosen.scale != TableArguments.scale and not chosen.experiment:
        raise UserError(f"scale={chosen.scale}: belongs to experiment=: leave it out")
    columns, fit = split_list(chosen.columns), terminal_fit("columns= chooses, format=markdown shows all")
    measure = chosen_measure(chosen)
    store = Store(chosen.store)
    if chosen.experiment or chosen.study:
        from bagoftricks.report.study import study_report
        from bagoftricks.study.plan import study_name

        study = chosen.study or study_name(chosen.experiment, chosen.scale)
        report = study_report(store, study, chosen.format, columns, measure, fit)
        if chosen.format == "csv":  # the others have notes
            name_left_out("bot-table", store.damaged)
        return report
    rows = [row for record in store.records() for row in record_rows(record, measure or NO_MEASURE)]
    name_left_out("bot-table", store.damaged)
    if not rows and chosen.format != "json":
        raise UserError(f"store={chosen.store} holds no finished run yet; bot-train makes one")
    rows.sort(key=attrgetter("model", "data", "label", "seed"))
    columns_shown = record_columns(rows, columns)
    if measure:
        columns_shown = [*columns_shown[:-1], *measure.columns, columns_shown[-1]]
    shown = render(rows, columns_shown, chosen.format, fit)
    return with_notes(shown, robustness_notes(rows), chosen.format, fit)


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
