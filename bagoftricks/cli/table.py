"""bot-table: the records of a store as a table. Trains nothing, needs neither Hydra nor torch."""

import sys
from pathlib import Path

from bagoftricks.errors import UserError, did_you_mean

HELP = """bot-table: the records of a store as a table, one row per run, or the table of a study.

usage:
  bot-table                                           results/runs, as Markdown, one row per run
  bot-table experiment=bag_of_tricks/table5 scale=laptop format=latex
  bot-table study=stack store=FOLDER                  a study of bot-sweep by its name

settings:
  experiment=NAME      the study that bot-sweep made of an experiment, at scale=laptop (the default) or scale=paper
  study=NAME           the study of that name
  columns=[top1,macs]  of the table: top1, top5, loss, ece, params, macs, train_images_per_s, infer_images_per_s,
                       peak_memory_mib, train_seconds (of a study), wall_seconds; mce, relative_mce, or the name of a
                       corruption, for the runs that were evaluated on corrupted images
  store=results/runs   folder of the records
  format=markdown      text, markdown, csv, latex or json (an array of rows, alone on standard output)"""


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        print(table(arguments))
    except UserError as error:
        print(f"bot-table: {error}", file=sys.stderr)
        return 2
    return 0


def table(arguments: list[str]) -> str:
    from bagoftricks.report.column import STYLES
    from bagoftricks.report.robustness import robustness_notes, with_notes
    from bagoftricks.report.table import record_columns, render, rows_of
    from bagoftricks.study.store import Store

    chosen = {
        "store": "results/runs",
        "format": "markdown",
        "experiment": "",
        "scale": "laptop",
        "study": "",
        "columns": "",
    }
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in chosen:
            raise UserError(f"'{argument}' is not a setting{did_you_mean(key, chosen)} (bot-table --help)")
        chosen[key] = value
    styles = [*STYLES, "csv", "json"]
    if chosen["format"] not in styles:
        raise UserError(f"format={chosen['format']}: must be one of {', '.join(styles)}")
    columns = [name.strip() for name in chosen["columns"].strip("[]").split(",") if name.strip()]
    if chosen["experiment"] or chosen["study"]:
        from bagoftricks.report.study import study_report
        from bagoftricks.study.plan import study_name

        study = chosen["study"] or study_name(chosen["experiment"], chosen["scale"])
        return study_report(Store(chosen["store"]), study, chosen["format"], columns)
    store = Store(Path(chosen["store"]))
    rows = [row for record in store.records() for row in rows_of(record)]
    for damage in store.damaged:
        print(f"bot-table: left out: {damage}", file=sys.stderr)
    if not rows and chosen["format"] != "json":
        raise UserError(f"store={chosen['store']} holds no finished run yet; bot-train makes one")
    rows.sort(key=lambda row: (row["model"], row["data"], row["label"], row["seed"]))
    shown = render(rows, record_columns(rows, columns), chosen["format"])
    return with_notes(shown, robustness_notes(rows), chosen["format"])


if __name__ == "__main__":
    sys.exit(main())
