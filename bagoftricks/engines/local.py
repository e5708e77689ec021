"""Processes on this machine, which carry out one run after another: a run that dies loses only itself.

A process that has done its run well gets the next one, if that needs the same cores, GPUs and plug-ins, and keeps the
data in memory. Another one takes the place of a process whose run failed or was stopped. Processes come from a
forkserver that has torch loaded already, which makes one in well under a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from bagoftricks.children import program_hidden
from bagoftricks.cores import own_cores, share_cores, take_share, thread_limit
from bagoftricks.engines.base import ELSEWHERE, INTERRUPTED, Ended, Engine, Limits, View
from bagoftricks.engines.job import PipeReporter, log_output
from bagoftricks.engines.warm import WarmProcess
from bagoftricks.errors import UserError
from bagoftricks.registry import engine
from bagoftricks.store.files import note_once
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun

PRELOAD = ["bagoftricks.engines.local", "torchvision", "torch._dynamo"]
INTERRUPTING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
SAVING_SECONDS = 60.0  # that the runs of an interrupted sweep have to finish their steps and save


@dataclass(frozen=True)
class Slice:
    """Slice of the machine that one run has: the number of its cores, which ones, and CUDA_VISIBLE_DEVICES."""

    count: int
    cores: frozenset[int] | None = None  # None: whichever are free
    gpus: str | None = None  # None: as they are


@dataclass(frozen=True)
class Needs:
    """Properties of a process from its start to its end: a run that needs others has another process."""

    slice: Slice
    plugins: tuple[str, ...]
    runtime: tuple[object, ...]  # settings that change more of a process than the run itself

    @classmethod
    def of(cls, run: PlannedRun, own: Slice) -> "Needs":
        """Return what a run in this slice needs."""
        runtime = run.settings.runtime
        fixed = (runtime.device, runtime.devices, runtime.threads, runtime.deterministic)
        return cls(own, tuple(run.settings.plugins), fixed)


def carry_out_runs(run: PlannedRun | None, connection: Connection, own: Slice) -> None:
    """Carry out a run and those that come after it, until one does not end well or none is left."""
    for number in INTERRUPTING:
        signal.signal(number, _interrupt)
    take_slice(own)
    # A forkserver's children would start others, which load torch again, to prepare images.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    process, status = WarmProcess(), 0
    try:
        while run is not None:
            status = carry_out_one(run, process, connection)
            if status not in (0, ELSEWHERE) or run.settings.runtime.auto_micro_batch:  # memory may have run out
                break
            with suppress(OSError):  # the sweep is gone
                connection.send(status)
            process.tidy()
            run, status = next_run(connection), 0
    except KeyboardInterrupt:  # before or after a run
        status = INTERRUPTED
    sys.stdout.flush()
    os._exit(status)


def carry_out_one(run: PlannedRun, process: WarmProcess, connection: Connection) -> int:
    """Train one run with its output in the log of its folder; return the exit status."""
    store = Store(run.settings.store)
    log_output(store, run.id)
    note_once.cache_clear()  # each log has the notes of its run
    status = process.train(run, store, PipeReporter(connection))
    sys.stdout.flush()
    return status


def next_run(connection: Connection) -> PlannedRun | None:
    """Wait for the next run; return None if there is none any more, or the process that sends them is gone."""
    sender = multiprocessing.parent_process()
    ready = wait([connection, *([sender.sentinel] if sender else [])])
    try:
        run: PlannedRun | None = connection.recv() if connection in ready else None
    except EOFError:
        return None
    return run


def take_slice(own: Slice) -> None:
    """Keep this process to its slice of the machine."""
    if own.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = own.gpus
    if own.cores is not None:
        os.sched_setaffinity(0, own.cores)
    take_share(own.count)
    import torch

    torch.set_num_threads(thread_limit())


@dataclass
class Worker:
    """Process that carries out runs."""

    process: Any
    connection: Connection
    slot: int
    needs: Needs
    run: PlannedRun | None = None  # that it carries out at present
    began: float = 0.0
    at: str = ""  # what the run did last
    over: bool = False  # its time limit

    def begin(self, run: PlannedRun) -> None:
        """Note that the process has a run."""
        self.run, self.began, self.at, self.over = run, time.monotonic(), "before its first step", False

    def take(self, run: PlannedRun) -> bool:
        """Give the waiting process a run; return False if it has ended."""
        try:
            self.connection.send(run)
        except OSError:
            return False
        self.begin(run)
        return True

    def ended(self, status: int) -> Ended:
        """Return how the run ended, which is then no longer in this process."""
        assert self.run is not None
        run, self.run = self.run, None
        return Ended(run, status, time.monotonic() - self.began, at=self.at, final=self.over)

    def leave(self) -> None:
        """Let a process without a run end."""
        self.connection.close()
        self.process.join(SAVING_SECONDS)


@engine(name="local")
class LocalEngine(Engine):
    """Processes on this machine, each on its own GPUs and cores."""

    slots_per_device: int = 1
    """runs at a time on each GPU (on each set of runtime.devices GPUs)"""
    pin_cores: bool = True
    """keep each of several runs on cores of its own, where each has two or more"""

    def __post_init__(self) -> None:
        if self.slots_per_device < 1:
            raise UserError(f"engine.slots_per_device={self.slots_per_device}: must be at least 1")

    def open(self, runs: Sequence[PlannedRun], view: View, limits: Limits) -> None:
        """Start the process that makes the workers."""
        super().open(runs, view, limits)
        self.workers: list[Worker] = []
        self.context = start_context()
        self.gpus = gpu_count()
        self.slots = limits.slots or self.default_slots(runs)

    def default_slots(self, runs: Sequence[PlannedRun]) -> int:
        """Return the slots that this machine has: one without a GPU, else ``slots_per_device`` for each set of them."""
        runtime = runs[0].settings.runtime
        if runtime.device == "cpu" or runtime.devices == -1 or not self.gpus:
            return 1
        return max(1, self.gpus // runtime.devices) * self.slots_per_device

    @property
    def busy(self) -> list[Worker]:
        """Processes that carry out a run."""
        return [worker for worker in self.workers if worker.run is not None]

    def room(self) -> int:
        """Return the number of free slots."""
        return self.slots - len(self.busy)

    def submit(self, runs: Sequence[PlannedRun]) -> None:
        """Give each run to a process that waits, or to a new one."""
        for run in runs:
            if not any(worker.take(run) for worker in self.idle(run)):
                self.start(run)
            self.view.started(run)

    def idle(self, run: PlannedRun) -> list[Worker]:
        """Return the processes that wait and have what the run needs."""
        waiting = [worker for worker in self.workers if worker.run is None]
        return [worker for worker in waiting if worker.needs == Needs.of(run, self.slice_of(run, worker.slot))]

    def start(self, run: PlannedRun) -> None:
        """Start a process for a run in a free slot, in place of the one that waits there."""
        slot = min(set(range(self.slots)) - {worker.slot for worker in self.busy})
        for worker in [worker for worker in self.workers if worker.slot == slot]:
            self.workers.remove(worker)
            worker.leave()
        needs = Needs.of(run, self.slice_of(run, slot))
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=carry_out_runs, args=(run, theirs, needs.slice))
        with program_hidden():
            process.start()
        theirs.close()
        self.workers.append(Worker(process, ours, slot, needs))
        self.workers[-1].begin(run)

    def slice_of(self, run: PlannedRun, slot: int) -> Slice:
        """Return the share of a slot."""
        gpus = own_gpus(slot // self.slots_per_device, run.settings.runtime.devices, self.gpus)
        return Slice(share_cores(self.slots), core_slice(slot, self.slots, pin=self.pin_cores), gpus)

    def poll(self) -> list[Ended]:
        """Pass on what the workers tell, for a fifth of a second at most; return the runs that have ended."""
        wait([source for worker in self.busy for source in (worker.connection, worker.process.sentinel)], timeout=0.2)
        limit, gone = self.limits.time_limit, []
        for worker in self.busy:
            status = drain(worker, self.view)
            if status is None and limit is not None and time.monotonic() - worker.began > limit:
                stop(worker, f"over its time limit of {limit:g} s")
            if status is None and not worker.process.is_alive():
                status = drain(worker, self.view)
                self.workers.remove(worker)
                worker.connection.close()
                status = int(worker.process.exitcode or 0) if status is None else status
            if status is not None:
                gone.append(worker.ended(status))
        return gone

    def close(self) -> None:
        """Stop the workers, which save their runs."""
        for worker in self.workers:
            worker.process.terminate() if worker.run else worker.connection.close()
        for worker in self.workers:
            worker.process.join(SAVING_SECONDS)


def start_context() -> Any:
    """Return what starts workers: a forkserver with torch loaded, or plain processes where the system has none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    start_forkserver()
    return context


def start_forkserver() -> None:
    """Start the process that makes the workers. It ignores what asks a whole group of processes to stop: the workers
    save their runs, and it is needed to tell when they have ended.
    """
    main = threading.current_thread() is threading.main_thread()  # handlers can be set there alone
    stopping = (*INTERRUPTING, signal.SIGHUP) if main else ()
    before = [signal.signal(number, signal.SIG_IGN) for number in stopping]
    from multiprocessing import forkserver

    try:
        forkserver.ensure_running()
    finally:
        for number, handler in zip(stopping, before, strict=True):
            signal.signal(number, handler)


def drain(worker: Worker, view: View) -> int | None:
    """Pass on what a worker has told; return the exit status of its run if that has ended well."""
    try:
        while worker.run is not None and worker.connection.poll():
            told = worker.connection.recv()
            if isinstance(told, int):
                return told
            done, steps, row = told
            worker.at = f"after step {done:,} of {steps:,}" if steps else worker.at
            view.progress(worker.run, done, steps, row)
    except (EOFError, OSError):
        pass
    return None


def stop(worker: Worker, why: str) -> None:
    """End a worker, and mark its run as failed unless it has just finished."""
    assert worker.run is not None
    worker.over = True
    worker.process.kill()
    worker.process.join()
    store = Store(worker.run.settings.store)
    if store.state(worker.run.id) is not RunState.DONE:
        store.mark_failed(worker.run.id, why, "")


def own_gpus(place: int, devices: int, there: int) -> str | None:
    """Return CUDA_VISIBLE_DEVICES of the runs in one place, which take ``devices`` each; None if all is one place."""
    if there <= 1 or devices == -1 or devices > there:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if len(visible) == there and all(visible) else [str(gpu) for gpu in range(there)]
    return ",".join(names[(place * devices + i) % there] for i in range(devices))


def core_slice(slot: int, slots: int, *, pin: bool) -> frozenset[int] | None:
    """Return the cores of one slot, the same number for each; None if its run may use any."""
    cores = sorted(own_cores())
    each = len(cores) // slots
    if not pin or slots == 1 or each < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    return frozenset(cores[slot * each : (slot + 1) * each])


def gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt
