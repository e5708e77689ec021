"""bot-report: studies and runs of a store as one page, a file to send. Trains nothing."""

import re
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bagoftricks.cli.app import run_command
from bagoftricks.cli.key_values import set_texts
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import UserError, printable
from bagoftricks.folders import local_path
from bagoftricks.plugins import split_list

PROGRAM_REPORT = "bot-report"
MOST_PORT = 65_535


def main(argv: list[str] | None = None) -> int:
    return run_command(PROGRAM_REPORT, argv, report)


@dataclass
class ReportArguments:
    """Arguments of the command, as typed."""

    store: str = "results/runs"
    """folder of the records, or s3://BUCKET/FOLDER"""
    study: str = ""
    """name of a study, or [a,b]; default: all studies of the store, and the runs of none"""
    file: str = "report.html"
    """page to write; an existing file is replaced only if it is such a page"""
    figures: str = ""
    """folder for the pictures of the page, each as an SVG file besides"""
    serve: str = "false"
    """true: show the page on this machine instead, always up to date, until Ctrl-C"""
    port: str = "0"
    """of serve=true; 0: any that is free"""
    plot: str = ""
    """a picture of one run instead of the page: schedule, network or images, of run= or of settings and tricks as
    bot-train takes them; file= and width= as bot-table has them (docs/pictures.md)"""
    run: str = ""
    """of plot=: the id of a finished run, its beginning, or last"""
    width: str = "3.5"
    """of plot= in inches"""

    @classmethod
    def of(cls, arguments: list[str]) -> "ReportArguments":
        """Read ``key=value`` arguments. Raises UserError with the nearest key."""
        chosen = cls()
        set_texts(chosen, PROGRAM_REPORT, arguments)
        if empty := next((argument for argument in arguments if argument.endswith("=")), ""):
            raise UserError(f"{empty} is empty: type a value, or leave it out")
        chosen.check()
        return chosen

    def check(self) -> None:
        """Raise UserError for what does not belong together."""
        if typed := "run" if self.run else "width" if self.width != ReportArguments.width else "":
            raise UserError(f"{typed}= is of a picture: add plot=schedule, network or images")
        if self.serve not in ("true", "false"):
            raise UserError(f"serve={self.serve}: must be true or false")
        if not re.fullmatch(r"[0-9]{1,5}", self.port) or int(self.port) > MOST_PORT:
            raise UserError(f"port={self.port}: must be a whole number from 0 to {MOST_PORT}")
        for name in ("file", "figures") if self.serve == "true" else ("port",):
            if getattr(self, name) != getattr(ReportArguments, name):
                other = "serve=true writes no file" if self.serve == "true" else "it belongs to serve=true"
                raise UserError(f"{name}={getattr(self, name)}: {other}: leave it out")
        if Path(self.file).suffix.lower() not in (".html", ".htm"):
            raise UserError(f"file={self.file}: a page is HTML: type a name that ends with .html")

    @property
    def command(self) -> str:
        """Command that makes the page again."""
        changed = [f"{key}={value}" for key, value in vars(self).items() if value != getattr(ReportArguments, key)]
        return shlex.join([PROGRAM_REPORT, *changed])


def report(arguments: list[str]) -> int | None:
    """Write the page, or serve it; with plot=, write a picture."""
    if any(argument.startswith("plot=") for argument in arguments):
        from bagoftricks.cli.plot_run import plot_run

        return plot_run(arguments)
    chosen = ReportArguments.of(arguments)
    if chosen.serve == "true":
        serve(chosen)
    else:
        for line in write(chosen):
            show_result(line)
    return None


def write(chosen: ReportArguments) -> list[str]:
    """Write the page, and its pictures if they are wanted as files; return a line for each file."""
    from bagoftricks.report.page.whole_page import load_report, whole_page
    from bagoftricks.report.run_page import size_text
    from bagoftricks.store.files import write_whole
    from bagoftricks.store.store import Store

    path = local_path("file", chosen.file)
    require_ours(path)
    store = Store(chosen.store)
    found = load_report(store, split_list(chosen.study), chosen.command)
    for damage in dict.fromkeys(store.damaged):
        say(PROGRAM_REPORT, f"left out: {damage}")
    if not (found.studies or found.others):
        raise UserError(f"store={chosen.store} holds neither a study nor a finished run yet; bot-train makes one")
    text = whole_page(found).encode()
    if chosen.figures and local_path("figures", chosen.figures).is_file():
        raise UserError(f"figures={chosen.figures}: is a file: name a folder")
    try:
        write_whole(path, lambda temporary: temporary.write_bytes(text))
    except OSError as error:
        raise UserError(f"file={chosen.file}: cannot be written ({error.strerror})") from error
    lines = []
    if chosen.figures:
        from bagoftricks.report.page.drawings import save_pictures

        folder = local_path("figures", chosen.figures)
        lines = [printable(file) for study in found.studies for file in save_pictures(study, folder)]
    what = [f"{len(found.studies)} {'study' if len(found.studies) == 1 else 'studies'}"] if found.studies else []
    what.append(f"{found.runs} {'run' if found.runs == 1 else 'runs'}")
    return [*lines, printable(f"{chosen.file}: {', '.join(what)}, {size_text(len(text))}")]


def serve(chosen: ReportArguments) -> None:
    """Serve the page until Ctrl-C; a study that does not exist yet is waited for."""
    from bagoftricks.cli.page_server import PageServer, keep_serving, store_stamp
    from bagoftricks.report.page.whole_page import Reported, load_report, whole_page
    from bagoftricks.store.store import Store

    def make() -> str:
        try:
            found = load_report(Store(chosen.store), split_list(chosen.study), chosen.command)
        except UserError as error:
            found = Reported((), (), chosen.command, chosen.store, str(error))
        return whole_page(found, live=True)

    server = PageServer(int(chosen.port))
    show_result(f"{server.address} shows the page until Ctrl-C")
    sys.stdout.flush()

    def stamp() -> object:
        store = Store(chosen.store)
        store.refresh()
        return store_stamp(store.root)

    with suppress(KeyboardInterrupt):
        keep_serving(server, make, stamp)


def require_ours(path: Path) -> None:
    """Raise UserError if a file that is no page of ours would be lost: its name may be a slip of the keyboard."""
    from bagoftricks.report.page.whole_page import is_ours
    from bagoftricks.store.files import is_there, open_regular

    if not is_there(path):
        return
    try:
        with open_regular(path) as file:
            ours = is_ours(file.read(4096))
    except OSError as error:
        raise UserError(f"file={path}: cannot be replaced ({error.strerror}): type another name") from error
    if not ours:
        raise UserError(f"file={path}: is there already and is no page of {PROGRAM_REPORT}: type another name")


if __name__ == "__main__":
    sys.exit(main())
