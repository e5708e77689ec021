"""bot-train: one run, from the command line to a record and a table row. Imports torch only to train."""

import shlex
import sys
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from bagoftricks.cli.app import launch, run_command
from bagoftricks.cli.finished_lines import TableSettings, find_line, keep_line, say_finished
from bagoftricks.cli.search import search_arguments, sweeper_of
from bagoftricks.cli.streams import say, show_result
from bagoftricks.settings import OVERRIDE
from bagoftricks.started import other_rank

DIGITS_MODEL = "resnet14_laptop"  # of the default preset

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record


class Finished(NamedTuple):
    """A run that this process carried out."""

    shown: "TableSettings"
    record: "Record"
    command: str
    objective: float = 0.0  # of a search


def main(argv: list[str] | None = None) -> int:
    return run_command("bot-train", argv, train_runs)


def train_runs(arguments: list[str]) -> int:
    """Carry out the run, those of a multirun or those of a search, and print their table; the exit status."""
    if known := find_line(arguments):
        record, shown = known
        say_finished(record.id)
        show([Finished(shown, record, record.command)])
        return 0
    finished: list[Finished] = []
    searched, trials = sweeper_of(arguments) is not None, count(1)

    def job(settings: "Settings", command: str) -> float:
        from bagoftricks.cli.progress import ConsoleReporter
        from bagoftricks.report.objective import objective_value

        if searched and next(trials) == 1:
            warn_of_test_split(settings)
        settings, record = train_one(settings, command)
        value = objective_value(record, settings)
        finished.append(Finished(TableSettings.of(settings), record, command, value))
        if not other_rank():
            keep_line(arguments, settings, record)
        if searched and settings.runtime.progress:
            reporter = ConsoleReporter(enabled=True)
            reporter.note(f"{settings.objective} {value:g} ({record.reported}): {command}")
        return value

    def finish() -> None:
        show(finished, searched=searched)
        if searched and not finished and any(argument.startswith("hydra/launcher=") for argument in arguments):
            say("bot-train", "the same command without hydra/launcher= prints the table of the finished runs")

    return launch("bot-train", job, finish, [*arguments, *search_arguments(arguments)])


def train_one(settings: "Settings", command: str) -> "tuple[Settings, Record]":
    """Carry out one run, or the longer one that ``extend`` names; return its settings and its record."""
    from bagoftricks.cli.progress import ConsoleReporter
    from bagoftricks.report.objective import require_objective
    from bagoftricks.run.carry_out import carry_out

    require_objective(settings)
    if settings.extend is not None:
        settings = longer_run(settings, command)
    opening = None if other_rank() else photographs_note(settings)
    reporter = ConsoleReporter(enabled=settings.runtime.progress, opening=opening)
    return settings, carry_out(settings, reporter, command)


def warn_of_test_split(settings: "Settings") -> None:
    """Print a warning if a search chooses by the images that a study reports."""
    from bagoftricks.report.objective import depends_on_images

    if not settings.data.holdout and depends_on_images(settings.objective):
        say(
            "bot-train",
            "warning: this search chooses by the validation images, so a study on them would look too good: type "
            "data.holdout=0.1 to choose by a tenth of the training images",
        )


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


def show(finished: list[Finished], *, searched: bool = False) -> None:
    """Print the table of the finished runs, of a search the best one first: the only thing on standard output."""
    if not finished or other_rank():
        return
    from bagoftricks.cli.layout import terminal_fit
    from bagoftricks.errors import printable
    from bagoftricks.escape import for_json
    from bagoftricks.report.dawnbench import TIME, make_measure
    from bagoftricks.report.objective import best_of_note, better_if_higher
    from bagoftricks.report.robustness import robustness_notes, score_keys
    from bagoftricks.report.styles import with_notes
    from bagoftricks.report.table import record_rows, render, run_columns
    from bagoftricks.store.json_fields import to_json

    if searched:
        finished = best_first(finished)
    shown = finished[0].shown
    style = shown.format
    measure = make_measure(shown.metric, shown.target, shown.price_per_hour)
    records = [run.record for run in finished]
    if style == "json":
        made = [to_json(record) for record in records]
        show_result(for_json(made[0] if len(made) == 1 else made))
        return
    rows = [row for record in records for row in record_rows(record, measure)]
    keys = score_keys(rows, each=any(run.shown.each for run in finished))
    columns = run_columns(rows, style, measure=measure, scores=keys)
    if searched:  # what the trials are sorted by stands next to their names
        columns[1:] = sorted(columns[1:], key=lambda column: column.key != shown.objective)
    fit = terminal_fit()
    notes = robustness_notes(rows)
    if searched:
        sign = "-" if better_if_higher(shown.objective) else ""
        notes += best_of_note(sign + shown.objective, len(finished))
    show_result(with_notes(render(rows, columns, style, fit), notes, style, fit))
    if measure.target is not None and style == "text":
        for row in [row for row in rows if TIME not in row.measured]:
            print(f"{printable(row.label)}: never at {100 * measure.target:g} %")
    if style == "text":
        for run in finished:
            print(printable(f"record: {run.shown.store}/{run.record.id}/record.json"))
        if len(finished) == 1:
            show_curve(records[0])
        if searched:
            best = finished[0]
            print(printable(f"best {shown.objective}: {best.objective:g} ({best.record.reported}): {best.command}"))


def show_curve(record: "Record") -> None:
    """Print the learning curve of a run, on a terminal."""
    from bagoftricks.cli.layout import has_blocks, line_width
    from bagoftricks.report.curve_text import curve_lines

    points = [point for point in record.cost.curve if point.weights == record.reported]
    if sys.stdout.isatty() and (lines := curve_lines(points, line_width(), blocks=has_blocks(sys.stdout.encoding))):
        print("\n".join(["", *lines]))


def best_first(finished: list[Finished]) -> list[Finished]:
    """Return the runs of a search by their objective, each once."""
    from bagoftricks.report.objective import better_if_higher

    sign = -1 if better_if_higher(finished[0].shown.objective) else 1
    once = {run.record.id: run for run in finished}
    return sorted(once.values(), key=lambda run: sign * run.objective)


if __name__ == "__main__":
    sys.exit(main())
