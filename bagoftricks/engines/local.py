"""Processes on this machine: each run in a fresh one, so that a run that dies loses only itself.

Processes come from a forkserver that has torch loaded already, which makes a fresh one in well under a second.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

from bagoftricks.children import program_hidden
from bagoftricks.cores import own_cores, share_cores, take_share, thread_limit
from bagoftricks.engines.base import Ended, Engine, Limits, View
from bagoftricks.engines.job import PipeReporter, log_output, train_guarded
from bagoftricks.errors import UserError
from bagoftricks.registry import engine
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun

PRELOAD = ["bagoftricks.engines.local", "torchvision", "torch._dynamo"]
SAVING_SECONDS = 60.0  # that the runs of an interrupted sweep have to finish their steps and save


@dataclass(frozen=True)
class Slice:
    """Slice of the machine that one run has: the number of its cores, which ones, and CUDA_VISIBLE_DEVICES."""

    count: int
    cores: frozenset[int] | None = None  # None: whichever are free
    gpus: str | None = None  # None: as they are


def work(run: PlannedRun, connection: Connection, own: Slice) -> None:
    """Train one run in a worker process, with its output in the log of its folder."""
    store = Store(run.settings.store)
    log_output(store, run.id)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, _interrupt)
    take_slice(own)
    status = train_guarded(run, store, PipeReporter(connection))
    connection.close()
    sys.stdout.flush()
    os._exit(status)


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
    """Process of one run."""

    run: PlannedRun
    process: Any
    connection: Connection
    slot: int
    began: float = field(default_factory=time.monotonic)
    at: str = "before its first step"  # what it did last
    over: bool = False  # its time limit

    def ended(self) -> Ended:
        status = int(self.process.exitcode or 0)
        return Ended(self.run, status, time.monotonic() - self.began, at=self.at, final=self.over)


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
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        start_forkserver()
        self.gpus = gpu_count()
        self.slots = limits.slots or self.default_slots(runs)

    def default_slots(self, runs: Sequence[PlannedRun]) -> int:
        """Return the slots that this machine has: one without a GPU, else ``slots_per_device`` for each set of them."""
        runtime = runs[0].settings.runtime
        if runtime.device == "cpu" or runtime.devices == -1 or not self.gpus:
            return 1
        return max(1, self.gpus // runtime.devices) * self.slots_per_device

    def room(self) -> int:
        """Return the number of free slots."""
        return self.slots - len(self.workers)

    def submit(self, runs: Sequence[PlannedRun]) -> None:
        """Start a process for each run."""
        for run in runs:
            self.start(run)

    def start(self, run: PlannedRun) -> None:
        slot = min(set(range(self.slots)) - {worker.slot for worker in self.workers})
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=work, args=(run, theirs, self.slice_of(run, slot)))
        with program_hidden():
            process.start()
        theirs.close()
        self.workers.append(Worker(run, process, ours, slot))
        self.view.started(run)

    def slice_of(self, run: PlannedRun, slot: int) -> Slice:
        """Return the share of a slot."""
        gpus = own_gpus(slot // self.slots_per_device, run.settings.runtime.devices, self.gpus)
        return Slice(share_cores(self.slots), core_slice(slot, self.slots, pin=self.pin_cores), gpus)

    def poll(self) -> list[Ended]:
        """Pass on what the workers tell, for a fifth of a second at most; return those that have ended."""
        wait(
            [source for worker in self.workers for source in (worker.connection, worker.process.sentinel)], timeout=0.2
        )
        limit, gone = self.limits.time_limit, []
        for worker in list(self.workers):
            drain(worker, self.view)
            if limit is not None and time.monotonic() - worker.began > limit:
                stop(worker, f"over its time limit of {limit:g} s")
            if not worker.process.is_alive():
                drain(worker, self.view)
                worker.connection.close()
                self.workers.remove(worker)
                gone.append(worker.ended())
        return gone

    def close(self) -> None:
        """Stop the workers, which save their runs."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(SAVING_SECONDS)


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
    """End a worker, and mark its run as failed unless it has just finished."""
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
