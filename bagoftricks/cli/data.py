"""bot-data: a data set as a run would see it, and what is wrong with it. Trains nothing."""

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, FAILED, launch, run_command
from bagoftricks.cli.arguments import shortened
from bagoftricks.cli.streams import show_result
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    from bagoftricks.run.inspection import Inspection
    from bagoftricks.settings import Settings

DATA_PROGRAM = "bot-data"


@dataclass
class DataArguments:
    """Arguments of the command that are not settings."""

    show: str | None = None
    """file of a picture of what the network sees (.png): training images in several epochs, and validation images"""
    scan: int | None = None
    """look at this many images of each split only"""
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "DataArguments":
        asked = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key == "show":
                if not value.lower().endswith(".png"):
                    raise UserError(f"show={value}: the name must end in .png")
                asked.show = value
            elif equals and key == "scan":
                if not re.fullmatch(r"0*[1-9]\d{0,8}", value):
                    raise UserError(f"scan={shortened(value)}: must be a whole number, 1 or more")
                asked.scan = int(value)
            else:
                asked.rest.append(argument)
        if asked.show is not None and {"-m", "--multirun"} & set(asked.rest):
            raise UserError("show= writes one file: leave out -m")
        return asked


def main(argv: list[str] | None = None) -> int:
    return run_command(DATA_PROGRAM, argv, inspect)


def inspect(arguments: list[str]) -> int:
    """Look at the data, print the report; the exit status is FAILED if something is wrong."""
    asked = DataArguments.of(arguments)
    found: list[Inspection] = []
    used: list[Settings] = []

    def job(settings: "Settings", command: str) -> None:
        used.append(settings)
        found.append(inspected(settings, asked))

    def finish() -> int:
        if found:
            show_result(shown_inspections(found, used[0].format))
        return FAILED if any(inspection.wrong for inspection in found) else DONE

    return launch(DATA_PROGRAM, job, finish, asked.rest)


def inspected(settings: "Settings", asked: DataArguments) -> "Inspection":
    """Look at the data of the settings, and write the picture that is asked for."""
    from bagoftricks.cli.progress import ConsoleReporter
    from bagoftricks.report.contact_sheet import write_sheet
    from bagoftricks.report.inspection import INSPECTION_STYLES
    from bagoftricks.run.inspection import inspect_data, look
    from bagoftricks.run.seen import seen_rows

    if settings.format not in INSPECTION_STYLES:
        raise UserError(f"format={settings.format}: must be one of {', '.join(INSPECTION_STYLES)}")
    looked = look(settings)
    reporter = ConsoleReporter(enabled=settings.runtime.progress)
    inspection = inspect_data(looked, reporter, asked.scan)
    if asked.show is not None and (rows := seen_rows(looked)):
        write_sheet(rows, asked.show)
        reporter.note(f"{asked.show} shows what the network sees")
    return inspection


def shown_inspections(found: "list[Inspection]", style: str) -> str:
    """Return the reports, one after the other; several ones as a JSON array."""
    from bagoftricks.escape import for_json
    from bagoftricks.report.inspection import inspection_text
    from bagoftricks.store.json_fields import to_json

    if style == "json":
        return for_json(to_json(found[0] if len(found) == 1 else found))
    return "\n\n".join(inspection_text(inspection, style) for inspection in found)


if __name__ == "__main__":
    sys.exit(main())
