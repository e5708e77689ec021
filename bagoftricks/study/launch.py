"""Carry out the runs of a study: each in a fresh process, so that a run that dies loses only itself.

Processes come from a forkserver that has torch loaded already, which makes a fresh one in well under a second.
"""

import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bagoftricks.children import program_hidden
from bagoftricks.cores import share_cores, take_share, thread_limit
from bagoftricks.data import Dataset, find_dataset, keep_decoded
from bagoftricks.errors import RunElsewhere, printable
from bagoftricks.escape import lines_for_terminal
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.deaths import death_by
from bagoftricks.run.reporter import EpochRow
from bagoftricks.settings import Settings
from bagoftricks.started import other_rank
from bagoftricks.store.checkpoint_header import FOLDER as CHECKPOINTS
from bagoftricks.store.checkpoint_header import steps_in
from bagoftricks.store.checkpoints import remove_leftovers
from bagoftricks.store.files import open_regular
from bagoftricks.store.secrets import hide_text
from bagoftricks.store.store import LOG, RunState, Store
from bagoftricks.study.plan import PlannedRun, state_of

PRELOAD = ["bagoftricks.study.launch", "torchvision", "sklearn.datasets", "torch._dynamo"]
ELSEWHERE = 3  # exit status of a worker that found its run taken
ATTEMPTS = 3  # of a run whose process is killed again and again at the same place
SAVING_SECONDS = 60.0  # that the runs of an interrupted sweep have to finish their steps and save


@runtime_checkable
class View(Protocol):
    """Receiver of the progress of a study."""

    def started(self, run: PlannedRun) -> None: ...

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: EpochRow | None) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None: ...  # its process ended before it did

    def finished(self, run: PlannedRun, state: RunState, seconds: float) -> None: ...


@dataclass
class PipeReporter:
    """Tells the parent process; a step is told at most five times a second."""

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


def work(run: PlannedRun, connection: Connection, cores: int, gpus: str | None) -> None:
    """Train one run in a worker process, with its output in the log of its folder."""
    store = Store(run.settings.store)
    log = open_log(log_path(store, run.id))
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, _interrupt)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    take_share(cores)
    import torch

    torch.set_num_threads(thread_limit())
    status = train_guarded(run, store, PipeReporter(connection))
    connection.close()
    sys.stdout.flush()
    os._exit(status)


def open_log(path: Path) -> int:
    """Open the log of a run to append to it; where that is impossible, as on a full disk, nothing is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def train_guarded(run: PlannedRun, store: Store, reporter: Any, data: "WarmData | None" = None) -> int:
    """Train one run; the exit status. How a run failed is kept in its folder."""
    try:
        carry_out(run.settings, reporter, run.command, data(run.settings) if data else None)
    except RunElsewhere:
        return ELSEWHERE
    except KeyboardInterrupt as error:
        print(printable(error), flush=True)
        return 75
    except BaseException as error:
        if store.state(run.id) is RunState.INTERRUPTED:  # a scheduler's handler ends the process in its own way
            raise
        settings = asdict(run.settings)
        trace = hide_text(traceback.format_exc(), settings)
        if not isinstance(reporter, ViewReporter):  # a log keeps it; a terminal shows the error in one line at the end
            print(lines_for_terminal(trace), file=sys.stderr, flush=True)
        if store.state(run.id) is not RunState.FAILED and not other_rank():  # refused before it began
            store.mark_failed(run.id, hide_text(f"{error}", settings) or type(error).__name__, trace)
        return 1
    return 0


@dataclass
class Worker:
    run: PlannedRun
    process: Any
    connection: Connection
    slot: int
    began: float = field(default_factory=time.monotonic)
    at: str = "before its first step"  # what it did last


class WarmData:
    """Keeps the data set of the last run, decoded where it fits into memory."""

    def __init__(self) -> None:
        self.key = ""
        self.data: Dataset | None = None

    def __call__(self, settings: Settings) -> Dataset:
        key = json.dumps(asdict(settings.data))
        if self.data is None or key != self.key:
            self.key, self.data = key, None
            self.data = keep_decoded(find_dataset(settings.data))
        return self.data


def run_here(runs: Sequence[PlannedRun], view: View) -> None:
    """Train the runs in this process, one after another; wait for those that other sweeps train."""
    data, todo, elsewhere = WarmData(), list(runs), list[PlannedRun]()
    while todo or elsewhere:
        if not todo:
            elsewhere = await_others(elsewhere, todo, view)
            continue
        run = todo.pop(0)
        began = time.monotonic()
        view.started(run)
        store = Store(run.settings.store)
        status = train_guarded(run, store, ViewReporter(run, view), data)
        if status == 75:
            raise KeyboardInterrupt
        if status == ELSEWHERE:
            elsewhere.append(run)
            view.postponed(run, elsewhere=True)
            continue
        view.finished(run, state_of(run, store), time.monotonic() - began)


@dataclass
class ViewReporter:
    """Tells a view in the same process."""

    run: PlannedRun
    view: View
    steps: int = 0
    done: int = 0

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int, done: int) -> None:
        self.steps, self.done = steps, done

    def step(self) -> None:
        self.done += 1

    def epoch(self, row: EpochRow) -> None:
        self.view.progress(self.run, self.done, self.steps, row)

    def end(self) -> None: ...


def run_in_workers(runs: Sequence[PlannedRun], view: View, *, slots: int, time_limit: float | None = None) -> None:
    """Train the runs in worker processes, ``slots`` at a time, each on its own GPU where there are several.

    Returns when every run is done or has failed, here or in another sweep over the same store. A run whose process was
    killed goes on in another one, for as long as it gets further each time. ``time_limit`` is in seconds for each run.
    """
    Pool(list(runs), view, slots, time_limit).carry_out()


class Pool:
    """The worker processes of a sweep, and the runs that wait for one."""

    def __init__(self, todo: list[PlannedRun], view: View, slots: int, time_limit: float | None) -> None:
        self.todo, self.view, self.slots, self.time_limit = todo, view, slots, time_limit
        self.workers: list[Worker] = []
        self.elsewhere: list[PlannedRun] = []  # runs that other sweeps train
        self.killed: dict[str, list[float]] = {}  # the step of the last checkpoint whenever a run's process was killed
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        start_forkserver()
        self.gpus = gpu_count()

    def carry_out(self) -> None:
        try:
            while self.todo or self.workers or self.elsewhere:
                while self.todo and len(self.workers) < self.slots:
                    self.start(self.todo.pop(0))
                self.listen()
                if not self.todo and not self.workers and self.elsewhere:
                    self.elsewhere = await_others(self.elsewhere, self.todo, self.view)
        finally:
            for worker in self.workers:
                worker.process.terminate()
            for worker in self.workers:
                worker.process.join(SAVING_SECONDS)

    def start(self, run: PlannedRun) -> None:
        slot = min(set(range(self.slots)) - {worker.slot for worker in self.workers})
        ours, theirs = self.context.Pipe(duplex=False)
        gpus = own_gpus(slot, run.settings.runtime.devices, self.gpus)
        process = self.context.Process(target=work, args=(run, theirs, share_cores(self.slots), gpus))
        with program_hidden():
            process.start()
        theirs.close()
        self.workers.append(Worker(run, process, ours, slot))
        self.view.started(run)

    def listen(self) -> None:
        """Pass on what the workers tell, for a fifth of a second at most; see to those that have ended."""
        wait(
            [source for worker in self.workers for source in (worker.connection, worker.process.sentinel)], timeout=0.2
        )
        for worker in list(self.workers):
            drain(worker, self.view)
            if self.time_limit is not None and time.monotonic() - worker.began > self.time_limit:
                self.killed[worker.run.id] = [math.inf] * ATTEMPTS
                stop(worker, f"over its time limit of {self.time_limit:g} s")
            if not worker.process.is_alive():
                self.ended(worker)

    def ended(self, worker: Worker) -> None:
        drain(worker, self.view)
        worker.connection.close()
        self.workers.remove(worker)
        status = int(worker.process.exitcode or 0)
        if status == ELSEWHERE:
            self.elsewhere.append(worker.run)
            self.view.postponed(worker.run, elsewhere=True)
        elif status < 0 and self.got_further(worker.run):
            self.todo.append(worker.run)  # being killed was not the run's own fault
            self.view.postponed(worker.run, elsewhere=False)
        else:
            settle(worker, status, self.view)

    def got_further(self, run: PlannedRun) -> bool:
        """Return True if the run reached a later checkpoint than at its last kills."""
        steps = steps_in(Store(run.settings.store).folder(run.id) / CHECKPOINTS)
        times = self.killed.setdefault(run.id, [])
        times.append(max([0, *steps]))
        return len(times) < ATTEMPTS or times[-1] > times[-ATTEMPTS]


def start_forkserver() -> None:
    """Start the process that makes the workers. It ignores what asks a whole group of processes to stop: the workers
    save their runs, and it is needed to tell when they have ended.
    """
    main = threading.current_thread() is threading.main_thread()  # handlers can be set there alone
    stopping = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP) if main else ()
    before = [signal.signal(number, signal.SIG_IGN) for number in stopping]
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in zip(stopping, before, strict=True):
            signal.signal(number, handler)


def drain(worker: Worker, view: View) -> None:
    """Pass on what a worker has told."""
    try:
        while worker.connection.poll():
            done, steps, row = worker.connection.recv()
            worker.at = f"after step {done:,} of {steps:,}" if steps else worker.at
            view.progress(worker.run, done, steps, row)
    except (EOFError, OSError):
        return


def stop(worker: Worker, why: str) -> None:
    worker.process.kill()
    worker.process.join()
    Store(worker.run.settings.store).mark_failed(worker.run.id, why, "")


def settle(worker: Worker, status: int, view: View) -> None:
    """Tell what became of a run whose worker has ended with exit status ``status``."""
    store = Store(worker.run.settings.store)
    if store.state(worker.run.id) is RunState.DONE:
        remove_leftovers(store.folder(worker.run.id))
    state = state_of(worker.run, store)
    said = state is RunState.UNEVALUATED and status > 0  # a trained run whose evaluation told why it failed
    if state not in (RunState.DONE, RunState.FAILED, RunState.INTERRUPTED) and not said:
        how = death_by(-status) if status < 0 else f"ended with exit status {status}"
        store.mark_failed(worker.run.id, f"its process {how}, {worker.at}", last_lines(log_path(store, worker.run.id)))
        state = RunState.FAILED
    view.finished(worker.run, state, time.monotonic() - worker.began)


def last_lines(log: Path, count: int = 40) -> str:
    """Return the end of a run's log: native code says there why it ended the process."""
    try:
        with open_regular(log) as file:
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ""


def await_others(elsewhere: list[PlannedRun], todo: list[PlannedRun], view: View) -> list[PlannedRun]:
    """Wait a moment for runs that other sweeps train; those whose process died come back to ``todo``."""
    time.sleep(0.5)
    still = []
    for run in elsewhere:
        state = state_of(run, Store(run.settings.store))
        if state is RunState.RUNNING:
            still.append(run)
        elif state in (RunState.DONE, RunState.FAILED):
            view.finished(run, state, 0.0)
        else:
            todo.append(run)
    return still


def own_gpus(slot: int, devices: int, there: int) -> str | None:
    """Return CUDA_VISIBLE_DEVICES of a slot whose runs take ``devices`` each; None if there is nothing to share."""
    if there <= 1 or devices == -1 or devices > there:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if len(visible) == there and all(visible) else [str(gpu) for gpu in range(there)]
    return ",".join(names[(slot * devices + i) % there] for i in range(devices))


def gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


def log_path(store: Store, run_id: str) -> Path:
    return store.folder(run_id) / LOG


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt
