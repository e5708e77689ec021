"""One run as a task of Ray, in a worker process that is used again: torch is loaded once and the data stay in memory.

The run trains in a temporary store of its own; what it leaves there is the result of the task.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from platform import node
from typing import Any

from bagoftricks.cores import take_share, thread_limit
from bagoftricks.data import Dataset
from bagoftricks.engines.job import log_path, open_log
from bagoftricks.engines.parcel import RunFiles, pack, unpack
from bagoftricks.engines.scratch import scratch
from bagoftricks.engines.shipping import Shipped, placed
from bagoftricks.engines.warm import WarmProcess
from bagoftricks.errors import UserError, printable
from bagoftricks.registry import Values
from bagoftricks.run.reporter import EpochRow
from bagoftricks.settings import Settings
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.plan import PlannedRun

SCRATCH = "bot-run-"  # begins the names of temporary stores
TELL_SECONDS = 0.5  # between two messages of one run


@dataclass(frozen=True)
class Order:
    """Order of one run: its settings as values, what its folder has so far, and the share of a node that it gets."""

    run_id: str
    label: str
    seed: int
    settings: Values
    command: str
    evaluation: str | None
    data_digest: str
    store: str  # where its files will go, as its messages name it
    files: RunFiles
    shipped: dict[str, Shipped]
    cpus: int
    gpus: float


@dataclass(frozen=True)
class Outcome:
    """Result of a task: the exit status of the run, its files, and how it failed if it did."""

    status: int
    files: RunFiles = field(default_factory=dict)
    failure: tuple[str, str] | None = None  # the error and its traceback


class Board:
    """Actor that keeps the progress of runs until the driver takes it."""

    def __init__(self) -> None:
        self.news: dict[str, tuple[float, int, int, list[EpochRow]]] = {}

    def tell(self, run_id: str, seconds: float, done: int, steps: int, rows: list[EpochRow]) -> None:
        """Keep the progress of a run that began ``seconds`` ago."""
        earlier = self.news[run_id][3] if run_id in self.news else []
        self.news[run_id] = (seconds, done, steps, [*earlier, *rows])

    def take(self) -> dict[str, tuple[float, int, int, list[EpochRow]]]:
        """Return what was told since the last call."""
        news, self.news = self.news, {}
        return news


@dataclass
class BoardReporter:
    """Sender of the progress of a run to the board, at most twice a second."""

    run_id: str
    board: Any
    began: float
    steps: int = 0
    done: int = 0
    told: float = 0.0
    rows: list[EpochRow] = field(default_factory=list)

    def note(self, text: str) -> None:
        print(printable(text), flush=True)

    def begin(self, run_id: str, steps: int, done: int) -> None:
        if run_id != self.run_id and re.fullmatch(
            "[0-9a-f]{20}", run_id
        ):  # an evaluation begins with the name of its protocol
            raise UserError(
                f"on the node {node()} this would be another run ({run_id}): its version of bagoftricks, or a file "
                "that the settings name, is another one; make them equal"
            )
        self.steps, self.done = steps, done

    def step(self) -> None:
        self.done += 1
        if time.monotonic() - self.told > TELL_SECONDS:
            self.tell()

    def epoch(self, row: EpochRow) -> None:
        print(dict(row), flush=True)
        self.rows.append(dict(row))

    def end(self) -> None:
        self.tell()

    def tell(self) -> None:
        """Send what is new; nothing waits for an answer."""
        self.told = time.monotonic()
        rows, self.rows = self.rows, []
        self.board.tell.remote(self.run_id, self.told - self.began, self.done, self.steps, rows)


@cache
def warm_process() -> WarmProcess:
    """Return what this process keeps from its last run."""
    return WarmProcess()


def train_on_node(order: Order, board: Any) -> Outcome:
    """Train a run on this node; return what it left."""
    import ray

    reporter = BoardReporter(order.run_id, board, time.monotonic())
    reporter.tell()
    take_cores(order.cpus)
    with scratch(Path(tempfile.gettempdir()), SCRATCH) as folder, visible_gpus(order):
        store = Store(folder / "store")
        own = store.folder(order.run_id)
        unpack({name: data for name, data in order.files.items() if name != LOG}, own)
        with output_to(open_log(log_path(store, order.run_id))):
            try:
                settings = placed(Settings.of(order.settings), order.shipped, node(), ray.get)
                run = run_of_order(order, replace(settings, store=str(store.root)))
                status = warm_process().train(run, store, reporter, lambda settings: same_data(settings, order))
            except UserError as error:
                store.mark_failed(order.run_id, str(error), "")
                status = 1
        return outcome(order, store, status)


def run_of_order(order: Order, settings: Settings) -> PlannedRun:
    """Return the run with its settings on this node."""
    return PlannedRun(order.label, order.seed, order.run_id, settings, order.command, order.evaluation)


def same_data(settings: Settings, order: Order) -> Dataset:
    """Return the data set. Raises UserError if it is not that of the run's id."""
    data = warm_process().data(settings)
    if data.digest != order.data_digest:
        raise UserError(
            f"data={settings.data.name} on the node {node()} is not that of the study, by its contents: copy it, or "
            "type engine.ship_data=true without the other one there"
        )
    return data


def outcome(order: Order, store: Store, status: int) -> Outcome:
    """Return what the run left, with the paths of its store in place of the temporary one."""
    here, there = str(store.root), order.store
    files = pack(store.folder(order.run_id))
    if LOG in files:
        files[LOG] = files[LOG].replace(here.encode(), there.encode())
    failure = None
    if store.state(order.run_id) is RunState.FAILED or store.failed(order.run_id):
        found = store.failure(order.run_id)
        failure = found["error"].replace(here, there), found["traceback"].replace(here, there)
    return Outcome(status, files, failure)


# --- the process and the node ---


def take_cores(count: int) -> None:
    """Compute with the cores of this task."""
    import torch

    take_share(count)
    torch.set_num_threads(thread_limit())


@contextmanager
def visible_gpus(order: Order) -> Iterator[None]:
    """Hide GPUs from a run that was given none: runtime.device=auto would take the first one."""
    name, hidden = "CUDA_VISIBLE_DEVICES", not order.gpus and order.settings["runtime"]["device"] == "auto"
    before = os.environ.get(name)
    if hidden:
        os.environ[name] = ""
    try:
        yield
    finally:
        if hidden:
            os.environ.pop(name) if before is None else os.environ.update({name: before})


@contextmanager
def output_to(log: int) -> Iterator[None]:
    """Send what the block prints to an open file, which is closed then."""
    kept = [os.dup(1), os.dup(2)]
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        with open(os.dup(1), "w", buffering=1) as out, open(os.dup(2), "w", buffering=1) as err:
            before, (sys.stdout, sys.stderr) = (sys.stdout, sys.stderr), (out, err)  # Ray's write elsewhere
            try:
                yield
            finally:
                sys.stdout, sys.stderr = before
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(log)
