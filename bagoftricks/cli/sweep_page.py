"""The page of a study that bot-sweep has trained: written if ``page=`` says so, else the command that writes it."""

from pathlib import Path

from bagoftricks.cli.report import ReportArguments, require_ours, write
from bagoftricks.cli.streams import say
from bagoftricks.cli.swept_study import SweptStudy
from bagoftricks.errors import UserError
from bagoftricks.folders import ADDRESS, local_path
from bagoftricks.settings import Settings


def wanted_page(study: SweptStudy) -> str | None:
    """Return the file of the page that ``page=`` asks for; ``true`` is one next to a store on this disk."""
    wanted, store = study.sweep.page, study.base.store
    if wanted is None or wanted.lower() == "false":
        return None
    if wanted.lower() != "true":
        return wanted
    return str(Path(Settings.store if ADDRESS.match(store) else store).parent / study.name / "page.html")


def check_page(study: SweptStudy) -> None:
    """Raise UserError, before anything is trained, if the page could not be written."""
    if file := wanted_page(study):
        try:
            _arguments(study, file).check()
            require_ours(local_path("page", file))
        except UserError as error:
            raise UserError(str(error).replace("file=", "page=", 1)) from error


def leave_page(study: SweptStudy) -> None:
    """Write the page and say where it lies, or say what to type for it."""
    if file := wanted_page(study):
        for line in write(_arguments(study, file)):
            say("bot-sweep", f"page: {line}")
        return
    chosen = _arguments(study, f"{study.name.replace('/', '-')}.html")
    say("bot-sweep", f"{chosen.command} writes its page")


def _arguments(study: SweptStudy, file: str) -> ReportArguments:
    return ReportArguments(store=study.base.store, study=study.name, file=file)
