"""One run as a job: its log, its reports to the process that started it, and its exit status."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bagoftricks.data import Dataset
from bagoftricks.engines.base import ELSEWHERE, INTERRUPTED, LOST
from bagoftricks.errors import RankLost, RunElsewhere, printable
from bagoftricks.escape import lines_for_terminal
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.reporter import EpochRow, Reporter
from bagoftricks.settings import Settings
from bagoftricks.started import other_rank
from bagoftricks.store.files import open_regular
from bagoftricks.store.secrets import hide_text
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.plan import PlannedRun
from bagoftricks.system import NO_LINKS, NO_WAIT


@dataclass
class PipeReporter:
    """Sender of the progress to the parent process; of steps, at most five times a second."""

    connection: Connection
    steps: int = 0
    done: int = 0
    told: float = 0.0

    def note(self, text: str) -> None:
        print(printable(text), flush=True)

    def begin(self, run_id: str, steps: int, done: int) -> None:
        self.steps, self.done = steps, done

    def step(self) -> None:
        self.done += 1
        if time.monotonic() - self.told > 0.2:
            self._tell(None)

    def epoch(self, row: EpochRow) -> None:
        print(dict(row), flush=True)
        self._tell(dict(row))

    def end(self) -> None:
        self._tell(None)

    def _tell(self, row: EpochRow | None) -> None:
        self.told = time.monotonic()
        try:
            self.connection.send((self.done, self.steps, row))
        except OSError:  # the parent is gone; the run is worth finishing
            return


def train_guarded(
    run: PlannedRun,
    store: Store,
    reporter: Reporter,
    data: Callable[[Settings], Dataset] | None = None,
    *,
    trace_shown: bool = True,
) -> int:
    """Train one run; return the exit status. How a run failed is kept in its folder.

    ``trace_shown``: print the traceback of an error to standard error too, as into a log.
    """
    try:
        carry_out(run.settings, reporter, run.command, data(run.settings) if data else None)
    except RunElsewhere:
        return ELSEWHERE
    except KeyboardInterrupt as error:
        print(printable(error), flush=True)
        return INTERRUPTED
    except BaseException as error:
        if store.state(run.id) is RunState.INTERRUPTED:  # a scheduler's handler ends the process in its own way
            raise
        settings = asdict(run.settings)
        trace = hide_text(traceback.format_exc(), settings)
        if trace_shown:
            print(lines_for_terminal(trace), file=sys.stderr, flush=True)
        if store.state(run.id) is not RunState.FAILED and not other_rank():  # refused before it began
            store.mark_failed(run.id, hide_text(f"{error}", settings) or type(error).__name__, trace)
        return LOST if isinstance(error, RankLost) else 1
    return 0


def log_path(store: Store, run_id: str) -> Path:
    return store.folder(run_id) / LOG


def log_output(store: Store, run_id: str) -> None:
    """Send what this process prints from here on to the log of a run."""
    log = open_log(log_path(store, run_id))
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)


def open_log(path: Path) -> int:
    """Open the log of a run to append to it; where that is impossible, as on a full disk, nothing is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINKS | NO_WAIT, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def last_lines(log: Path, count: int = 40) -> str:
    """Return the end of a run's log: native code says there why it ended the process."""
    try:
        with open_regular(log) as file:
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
