"""Pictures of bot-report: plot=KIND of a finished run, or of settings as bot-train takes them. Trains nothing."""

from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, launch
from bagoftricks.cli.plot import PictureRequest
from bagoftricks.cli.streams import show_result
from bagoftricks.errors import UserError
from bagoftricks.report.pictures.kinds import RUN_KINDS

if TYPE_CHECKING:
    from bagoftricks.settings import Settings

OF_PAGES = ("study", "serve", "port", "figures")  # arguments of bot-report that no picture has
OWN = {"plot": "", "file": "", "width": "3.5", "run": ""}
OF_RUN = {"store": "results/runs", "format": "text"}  # the other arguments that may stand next to run=


def plot_run(arguments: list[str]) -> int:
    """Draw the picture of a run or of settings and print its words, or the kinds without one; return the status."""
    typed = dict(argument.split("=", 1) for argument in arguments if argument.partition("=")[0] in OWN)
    chosen, rest = {**OWN, **typed}, [a for a in arguments if a.partition("=")[0] not in OWN]
    if not chosen["plot"]:
        show_result("\n".join(f"plot={kind}: {about}" for kind, about in RUN_KINDS.items()))
        return DONE
    keys = [argument.partition("=")[0] for argument in rest]
    if other := next((key for key in OF_PAGES if key in keys), ""):
        raise UserError(f"{other}= does not go with plot=: bot-table study=NAME plot=forest draws a study")
    if chosen["run"]:
        others = dict(argument.partition("=")[::2] for argument in rest)
        if unknown := next((key for key in others if key not in OF_RUN), ""):
            raise UserError(f"{unknown}: with run=, the settings are the run's: leave it out")
        others = {**OF_RUN, **others}
        request = PictureRequest.of(chosen["plot"], chosen["file"], chosen["width"], others["format"])
        _draw_run(request, chosen["run"], others["store"])
        return DONE

    def job(settings: "Settings", command: str) -> None:
        from bagoftricks.report.pictures.of_runs import draw_run

        request = PictureRequest.of(chosen["plot"], chosen["file"], chosen["width"], settings.format)
        show_result(request.write(draw_run(request.kind, settings, request.width)))

    return launch("bot-report", job, lambda: None, rest)


def _draw_run(request: PictureRequest, run: str, store: str) -> None:
    from bagoftricks.report.pictures.of_runs import draw_run
    from bagoftricks.store.record import settings_of
    from bagoftricks.store.store import Store

    record = Store(store).find(run)
    drawing = draw_run(request.kind, settings_of(record), request.width, record.data.train_images)
    show_result(request.write(drawing))
