"""bot-train: one run, from the command line to a record and a table row. Imports torch only to train."""

import shlex
import sys
from typing import TYPE_CHECKING

from bagoftricks.cli.app import launch, run_command
from bagoftricks.cli.streams import show_result
from bagoftricks.settings import OVERRIDE
from bagoftricks.started import other_rank

DIGITS_MODEL = "resnet14_laptop"  # of the default preset

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record


def main(argv: list[str] | None = None) -> int:
    finished: list[tuple[Settings, Record]] = []

    def job(settings: "Settings", command: str) -> None:
        from bagoftricks.cli.progress import ConsoleReporter
        from bagoftricks.run.carry_out import carry_out

        if settings.extend is not None:
            settings = longer_run(settings, command)
        reporter = ConsoleReporter(enabled=settings.runtime.progress)
        if (note := photographs_note(settings)) and not other_rank():
            reporter.note(note)
        finished.append((settings, carry_out(settings, reporter, command)))

    return run_command("bot-train", argv, lambda rest: launch("bot-train", job, lambda: show(finished), rest))


def longer_run(settings: "Settings", command: str) -> "Settings":
    """Return the settings of a run that goes on from another one, with what was typed."""
    from bagoftricks.run.longer import longer_settings

    typed = [OVERRIDE.fullmatch(argument) for argument in shlex.split(command)[1:]]
    return longer_settings(settings, [match["key"] for match in typed if match])


def photographs_note(settings: "Settings") -> str | None:
    """Return a line about the digits' network on larger images, None for another network or size."""
    from bagoftricks.settings import SMALL_IMAGE

    if settings.model.name != DIGITS_MODEL or settings.pixels <= SMALL_IMAGE:
        return None
    return (
        f"model={DIGITS_MODEL} and lr={settings.lr:g} are made for the digits, not for images of {settings.pixels} "
        "pixels: type preset=finetune model.weights=FILE, or preset=photos to train from random weights"
    )


def show(finished: "list[tuple[Settings, Record]]") -> None:
    """Print the table of the finished runs, the only thing on standard output."""
    if not finished or other_rank():
        return
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.errors import printable
    from bagoftricks.escape import for_json
    from bagoftricks.report.dawnbench import TIME, make_measure
    from bagoftricks.report.robustness import robustness_notes, score_keys
    from bagoftricks.report.styles import with_notes
    from bagoftricks.report.table import record_rows, render, run_columns
    from bagoftricks.store.json_fields import to_json

    settings = finished[0][0]
    style = settings.format
    measure = make_measure(settings.metric, settings.target, settings.price_per_hour)
    records = [record for _, record in finished]
    if style == "json":
        made = [to_json(record) for record in records]
        show_result(for_json(made[0] if len(made) == 1 else made))
        return
    rows = [row for record in records for row in record_rows(record, measure)]
    keys = score_keys(rows, each=any(settings.corruptions.each for settings, _ in finished))
    columns = run_columns(rows, style, measure=measure, scores=keys)
    fit = terminal_fit()
    show_result(with_notes(render(rows, columns, style, fit), robustness_notes(rows), style, fit))
    if measure.target is not None and style == "text":
        for row in [row for row in rows if TIME not in row.measured]:
            print(f"{printable(row.label)}: never at {100 * measure.target:g} %")
    if style == "text":
        for settings, record in finished:
            print(printable(f"record: {settings.store}/{record.id}/record.json"))


if __name__ == "__main__":
    sys.exit(main())
