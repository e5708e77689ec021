"""A job of a cluster: it carries out its runs one after another in processes of their own."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bagoftricks.engines.base import Ended, Engine, Limits, View
from bagoftricks.engines.local import PRELOAD, LocalEngine
from bagoftricks.engines.slurm_queue import KILLED
from bagoftricks.engines.submissions import read_runs
from bagoftricks.engines.supervisor import carry_out_study, reached_step
from bagoftricks.errors import TrainingFailed
from bagoftricks.run.reporter import EpochRow
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun, state_of

NOTE = ".note"  # end of the name of the file in which a job leaves why it ended before its runs
TIME_IS_UP = "had no time left before it got any further: type a larger engine.time= (minutes)"
AGAIN = 144  # exit status that puts a job of submitit's local executor into its queue again


class JobEngine(LocalEngine):
    """Process of one job for each of its runs, on the GPUs and cores that the job has.

    It is forked from the job's own process, which imports everything once and computes nothing.
    """

    def open(self, runs: Sequence[PlannedRun], view: View, limits: Limits) -> None:
        """Import what the runs need."""
        Engine.open(self, runs, view, limits)
        self.workers, self.slots, self.gpus = [], 1, 0
        self.context: Any = multiprocessing.get_context("fork")
        for name in PRELOAD:
            import_module(name)

    def poll(self) -> list[Ended]:
        return [
            replace(ended, how=f"was killed by SIGKILL ({KILLED})") if ended.status == -signal.SIGKILL else ended
            for ended in super().poll()
        ]


def carry_out_job(path: str) -> None:
    """Carry out the runs in the file ``path``, as a job of submitit's, and end the process.

    How the runs ended is in the store; the job's files may be removed as soon as they have.
    """
    work_off(Path(path))
    sys.stdout.flush()
    os._exit(0)


def work_off(spec: Path) -> None:
    """Carry out the runs in a file. If the job's time is up, save, and put the job into the queue again."""
    runs, limit = read_runs(spec)
    left = [run for run in runs if state_of(run, Store(run.settings.store)) not in (RunState.DONE, RunState.FAILED)]
    before = progress(runs)
    note = spec.with_suffix(NOTE)
    note.unlink(missing_ok=True)
    with stopped_once() as caught:
        try:
            carry_out_study(left, LogView(), JobEngine(), Limits(1, limit))
        except TrainingFailed as error:
            note.write_text(f"{error}", encoding="utf-8")
        except KeyboardInterrupt:
            if caught != [signal.SIGUSR2]:
                return  # the scheduler, or a person, knows why
            if progress(runs) == before or not begin_again():
                note.write_text(TIME_IS_UP, encoding="utf-8")


@contextmanager
def stopped_once() -> Iterator[list[int]]:
    """Let the first signal that asks the job to stop interrupt the block; yield the list of its number.

    submitit's own handlers would leave out SIGTERM, and end the process before its runs are saved.
    """
    caught: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        if not caught:
            caught.append(number)
            raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)
    earlier = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield caught
    finally:
        for number in earlier:
            signal.signal(number, signal.SIG_IGN)  # the process ends now


def progress(runs: Sequence[PlannedRun]) -> list[tuple[bool, int]]:
    """Return how far each run has got: that it is over, or its last checkpoint."""
    found = []
    for run in runs:
        store = Store(run.settings.store)
        found.append((state_of(run, store) in (RunState.DONE, RunState.FAILED), reached_step(run)))
    return found


def begin_again() -> bool:
    """Put this job into the queue again; return False if that is impossible."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        sys.exit(AGAIN)
    array = [os.environ.get(name, "") for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")]
    number = "_".join(array) if all(array) else os.environ.get("SLURM_JOB_ID", "")  # of this task of an array alone
    try:
        return subprocess.run(["scontrol", "requeue", number], timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class LogView:
    """View of the runs in the log of the job."""

    def started(self, run: PlannedRun) -> None:
        print(f"begin {run.id}: {run.label}, seed {run.seed}", flush=True)

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: EpochRow | None) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None:
        print(f"postpone {run.id}" + (": another process has it" if elsewhere else ""), flush=True)

    def finished(self, run: PlannedRun, state: RunState, seconds: float) -> None:
        print(f"end {run.id}: {state.value}, {seconds:.1f} s", flush=True)
