"""The runs of a study as jobs of SLURM: one array for all of them, submitted through submitit.

What outlives the command is in the store: the records, and which job carries out which run (submissions.py). So the
same command, typed again, shows the state of the jobs, or waits for them, and submits only what no job carries out.
"""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from statistics import median
from typing import Any, TypeVar

from bagoftricks.engines.base import INTERRUPTED, Ended, Engine, Limits, View
from bagoftricks.engines.slurm_ends import JobEnds
from bagoftricks.engines.slurm_executor import local_executor, slurm_executor, submitted
from bagoftricks.engines.slurm_local import LocalQueue, local_number
from bagoftricks.engines.slurm_notices import Notices, held_back, queue_line, stuck_line
from bagoftricks.engines.slurm_queue import QueuedJob, SlurmQueue
from bagoftricks.engines.submissions import JobKey, Submission, Submissions, newest_of
from bagoftricks.engines.supervisor import is_stuck, reached_step, settle
from bagoftricks.errors import UserError
from bagoftricks.registry import engine
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun, state_of

T = TypeVar("T")
CLUSTERS = ("slurm", "local")
MOST_JOBS = 1000  # in one array: the most that SLURM takes unless MaxArraySize says otherwise
JOB_SECONDS = 60.0  # that a job of short runs takes, so that they share its start
SETTLING_SECONDS = 5.0  # after the end of a job in which a record may still appear on this machine
FAILED_SECONDS = 2.0  # that a failure lasts which its job does not try again
NOT_OF_JOBS = ("tries", "wait")  # settings that no job has
RUNS_A_POLL = 100  # states of runs to read in one poll


@dataclass
class Watched:
    """Run that a job carries out."""

    run: PlannedRun
    key: JobKey
    began: float | None = None
    over: float | None = None  # when the end of its job was seen
    failed: float | None = None  # when its failure was seen


@engine(name="slurm", package="submitit")
class SlurmEngine(Engine):
    """Jobs of SLURM, one array for all runs; the same command shows their state and submits what is missing."""

    partition: str | None = None
    """partition of the jobs"""
    account: str | None = None
    """account that pays for them"""
    constraint: str | None = None
    """features that a node must have, as a100"""
    qos: str | None = None
    """quality of service"""
    time: int | None = None
    """minutes of a job, then its runs go on in another; default: the partition's"""
    gpus: int | None = None
    """GPUs of a job; default: runtime.devices with runtime.device=cuda, else none"""
    cpus: int | None = None
    """cores of a job; default: SLURM's"""
    mem_gb: float | None = None
    """memory of a job in GB; default: SLURM's"""
    extra: list[str] = field(default_factory=list)
    """other options of sbatch, as [exclusive,mail-type=END]"""
    setup: list[str] = field(default_factory=list)
    """shell commands before the runs, as ['module load cuda']"""
    tries: int = 3
    """jobs in a row that a run may lose without getting further"""
    wait: bool = True
    """false: submit and return; the same command shows the state"""
    runs_per_job: int | None = None
    """runs that a job carries out one after another; default: a minute's, if like runs are in the store, else 1"""
    save_seconds: int = 120
    """seconds before the end of a job's time at which its run is saved"""
    cluster: str = "slurm"
    """slurm, or local: processes on this machine instead, to try it out"""

    def __post_init__(self) -> None:
        self.watched: dict[str, Watched] = {}
        self.jobs: dict[JobKey, QueuedJob] = {}
        self.notices, self.told = Notices(), set[str]()
        self.next_look, self.pause, self.turn = 0.0, 0.0, 0
        for name, least in (("time", 1), ("gpus", 0), ("cpus", 1), ("tries", 1), ("runs_per_job", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"engine.{name}={value}: must be at least {least}")
        if self.mem_gb is not None and self.mem_gb <= 0:
            raise UserError(f"engine.mem_gb={self.mem_gb:g}: must be greater than 0")
        if not 1 <= self.save_seconds < (self.time or 10**6) * 60:
            raise UserError(f"engine.save_seconds={self.save_seconds}: must be 1 to less than engine.time=, in seconds")
        if self.cluster not in CLUSTERS:
            raise UserError(f"engine.cluster={self.cluster}: must be {' or '.join(CLUSTERS)}")

    @property
    def attempts(self) -> int:
        """Return the number of jobs in a row that a run may lose without getting further."""
        return self.tries

    @property
    def detached(self) -> bool:
        """Return True if the command ends once all is submitted."""
        return not self.wait

    # --- what is there ---

    def open(self, runs: Sequence[PlannedRun], view: View, limits: Limits) -> None:
        """Find the queue and what was submitted before. Raises UserError on a machine without SLURM."""
        super().open(runs, view, limits)
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "engine=slurm: there is no sbatch here: type the command on a machine that submits jobs to SLURM, or "
                "engine.cluster=local to try it out"
            )
        self.find(runs)

    def find(self, runs: Sequence[PlannedRun]) -> None:
        """Take the queue and the submissions of the store."""
        self.store = Store(runs[0].settings.store)
        self.queue: SlurmQueue | LocalQueue = SlurmQueue() if self.cluster == "slurm" else LocalQueue()
        self.submissions = Submissions(self.store, "slurm")

    def states(self, runs: Sequence[PlannedRun]) -> Mapping[str, RunState]:
        """Return by id whether a run is queued or running, if a job carries it out."""
        if not runs or (self.cluster == "slurm" and shutil.which("squeue") is None):
            return {}
        self.find(runs)
        if not (submissions := self.submissions.all()):
            return {}
        jobs: dict[JobKey, QueuedJob] = {}
        with suppress(UserError):  # a plan prints without SLURM too
            jobs = self.queue.jobs(submissions)
        found = {}
        for run in runs:
            newest = newest_of(run.id, submissions)
            job = jobs.get((newest.name, newest.job_of(run.id))) if newest else None
            state = state_of(run, self.store)
            if job is not None and not job.over and state not in (RunState.DONE, RunState.FAILED):
                alone = newest is not None and len(newest.jobs[newest.job_of(run.id)]) == 1
                begun = state is RunState.RUNNING or (alone and job.state != "PENDING")
                found[run.id] = RunState.RUNNING if begun else RunState.QUEUED
        return found

    def in_flight(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the runs that jobs of an earlier command carry out; settle those whose job ended meanwhile."""
        if not self.submissions.folder.is_dir():
            return []
        with self.submissions.locked():
            self.tidy()
            submissions = self.submissions.all()
            jobs = self.jobs = self.queue.jobs(submissions)
            found = []
            for run in runs:
                if (newest := newest_of(run.id, submissions)) is None:
                    continue
                key = newest.name, newest.job_of(run.id)
                if (job := jobs.get(key)) is not None and not job.over:
                    self.watched[run.id] = Watched(run, key)
                    found.append(run)
                    self.compare(newest)
                elif newest.number:
                    self.take_over(run, key, newest.steps[run.id])
        return found

    def compare(self, submission: Submission) -> None:
        """Say which settings of this command the jobs of an earlier one do not have."""
        asked, number = self.asked(), submission.number
        other = [name for name in asked if submission.asked and submission.asked.get(name) != asked[name]]
        if other and number and self.cluster == "slurm":
            names = ", ".join(f"engine.{name}" for name in other)
            again = f"scancel {number} first, to submit it with these"
            self.notices.once(f"job {number} was submitted with other settings ({names}): {again}")

    def asked(self) -> dict[str, str]:
        """Return the settings of the jobs as text."""
        return {each.name: str(getattr(self, each.name)) for each in fields(self) if each.name not in NOT_OF_JOBS}

    def take_over(self, run: PlannedRun, key: JobKey, steps: Sequence[int]) -> None:
        """Decide on a run whose job ended after the last command had: it fails, or is submitted again."""
        if state_of(run, self.store) in (RunState.RUNNING, RunState.DONE, RunState.FAILED):
            return  # elsewhere, or over by now
        ended, end = self.ends().of(run, key)
        if end.state == "CANCELLED":
            self.submissions.leave_out([run.id])  # the user typed the command again
        elif ended.status > 0 or is_stuck([*steps[1:], reached_step(run)], self.tries):
            settle(ended)

    def earlier_attempts(self, run: PlannedRun) -> list[int]:
        """Return the last checkpoint whenever an earlier job of the run was lost."""
        newest = newest_of(run.id, self.submissions.all())
        return newest.steps[run.id][1:] if newest else []

    # --- submission ---

    def room(self) -> int:
        """Return the number of runs that can be submitted now: SLURM takes all, and shares out its nodes."""
        if self.cluster == "slurm" or self.detached:
            return 10**6
        live = len({watched.key for watched in self.watched.values()})
        return max(0, (self.limits.slots or 1) - live) * (self.runs_per_job or 1)

    def submit(self, runs: Sequence[PlannedRun]) -> None:
        """Submit the runs as one array, but for those that another command has submitted meanwhile."""
        with self.submissions.locked():
            submissions = self.submissions.all()
            jobs, mine = self.queue.jobs(submissions), []
            steps = {}
            for run in runs:
                newest, now = newest_of(run.id, submissions), reached_step(run)
                key = (newest.name, newest.job_of(run.id)) if newest else ("", 0)
                if key in jobs and not jobs[key].over:
                    self.watched[run.id] = Watched(run, key)
                    continue
                before = newest.steps[run.id] if newest else []
                steps[run.id] = [now] if is_stuck([*before[1:], now], self.tries) else [*before, now]
                mine.append(run)
            chunks = slices(mine, self.chunk(mine))
            for array in slices(chunks, MOST_JOBS):
                self.send(array, {run.id: steps[run.id] for chunk in array for run in chunk})
        self.next_look = 0.0

    def chunk(self, runs: Sequence[PlannedRun]) -> int:
        """Return the number of runs for one job."""
        if self.runs_per_job is not None or self.cluster == "local" or not runs:
            return self.runs_per_job or 1
        from bagoftricks.study.estimate import like_records
        from bagoftricks.study.plan import Plan

        like = like_records(Plan((), (), tuple(runs), {}, {}), self.store)
        if not like:
            return 1
        shared = int(JOB_SECONDS / max(0.1, median(record.cost.wall_seconds for record in like)))
        return max(1, min(shared, math.ceil(len(runs) / (self.limits.slots or 1))))

    def send(self, array: Sequence[Sequence[PlannedRun]], steps: dict[str, list[int]]) -> None:
        """Submit one array of jobs."""
        made = self.submissions.begin(array, steps, self.limits.time_limit)
        files = self.submissions.files(made.name)
        specs = [str(self.submissions.spec(made.name, index)) for index in range(len(array))]
        try:
            jobs = submitted(self.executor(made, array[0][0]), specs)
        except BaseException:
            self.submissions.leave_out(steps)
            raise
        for link in files.glob(".submission_file_*"):  # to the script of the array
            link.unlink()
        number = jobs[0].partition("_")[0] if self.cluster == "slurm" else local_number(jobs)
        self.submissions.write(replace(made, number=number, asked=self.asked()))
        self.submissions.leave_out(steps, keep=made.name)  # it has their history
        for index, chunk in enumerate(array):
            self.watched.update({run.id: Watched(run, (made.name, index)) for run in chunk})

    def executor(self, submission: Submission, first: PlannedRun) -> Any:
        """Return submitit's executor with the settings of the jobs."""
        files, gpus = self.submissions.files(submission.name), self.gpus_of(first)
        if self.cluster == "local":
            return local_executor(
                files, {"setup": self.setup, "time": self.time, "save_seconds": self.save_seconds}, gpus
            )
        at_once = self.limits.slots or len(submission.jobs)
        return slurm_executor(files, {**vars(self), "job_name": submission.name, "gpus": gpus, "at_once": at_once})

    def gpus_of(self, run: PlannedRun) -> int:
        """Return the GPUs of a job."""
        runtime = run.settings.runtime
        if self.gpus is not None:
            return self.gpus
        return max(1, runtime.devices) if runtime.device.startswith("cuda") else 0

    # --- progress ---

    def poll(self) -> list[Ended]:
        """Return the runs that have ended: by the files of the store, and now and then by the queue."""
        self.announce()
        time.sleep(0.2)
        if time.monotonic() >= self.next_look:
            self.look()
        watched = list(self.watched.values())
        started = [each for each in watched if self.may_have_begun(each)]
        self.turn = (self.turn + RUNS_A_POLL) % max(1, len(started)) if len(started) > RUNS_A_POLL else 0
        ended = []
        for each in (started[self.turn :] + started[: self.turn])[:RUNS_A_POLL]:
            if (found := self.end_of(each)) is not None:
                del self.watched[each.run.id]
                ended.append(found)
        return ended

    def announce(self) -> None:
        """Say which jobs this command waits for, whenever there are new ones."""
        names = {watched.key[0] for watched in self.watched.values()}
        if self.cluster == "slurm" and not names <= self.told:
            self.told |= names
            self.notices.once(self.in_queue())

    def look(self) -> None:
        """Ask for the state of all jobs in one call; ask less often while nothing changes."""
        keys = {watched.key for watched in self.watched.values()}
        names = {name for name, _ in keys}
        submissions = [found for found in self.submissions.all() if found.name in names]
        before, (least, most) = self.jobs, self.queue.pauses
        try:
            self.jobs = self.queue.jobs(submissions)
        except UserError as error:  # a controller that does not answer for a while ends no study
            self.notices.silence(error)
        else:
            self.notices.answer({key: self.jobs[key] for key in keys if key in self.jobs})
            for watched in self.watched.values():
                job = self.jobs.get(watched.key)
                over = job is None or job.over
                watched.over = (watched.over or time.monotonic()) if over else None
        self.pause = least if self.jobs != before else min(most, self.pause * 1.5)
        self.next_look = time.monotonic() + self.pause

    def may_have_begun(self, watched: Watched) -> bool:
        job = self.jobs.get(watched.key)
        return watched.over is not None or (job is not None and job.state != "PENDING")

    def end_of(self, watched: Watched) -> Ended | None:
        """Return the end of a run, None before it; tell the view of its start."""
        run, now = watched.run, time.monotonic()
        state = state_of(run, self.store)
        seconds = 0.0 if watched.began is None else now - watched.began
        if state is RunState.DONE:
            return Ended(run, 0, seconds)
        watched.failed = (watched.failed or now) if state is RunState.FAILED else None
        if watched.failed is not None and (watched.over or now - watched.failed >= FAILED_SECONDS):
            return Ended(run, 1, seconds)
        if state is RunState.RUNNING:
            if watched.began is None:
                watched.began = now
                self.view.started(run)
            return None
        settled = SETTLING_SECONDS if self.cluster == "slurm" else 0.0
        if watched.over is None or now - watched.over < settled:
            return None
        if state is RunState.UNEVALUATED and self.store.failed(run.id):
            return Ended(run, 1, seconds)
        ended, _ = self.ends().of(run, watched.key)
        if ended.status == INTERRUPTED:
            self.store.folder(run.id).mkdir(parents=True, exist_ok=True)  # it may never have begun
            self.store.mark_interrupted(run.id)
        return replace(ended, seconds=seconds)

    def ends(self) -> JobEnds:
        return JobEnds(self.queue, self.submissions, self.jobs)

    # --- the end ---

    def waiting(self) -> int:
        """Return the number of runs that are queued and have not begun."""
        return sum(watched.began is None for watched in self.watched.values())

    def left(self) -> str:
        """Return what goes on after this command, with what to type; empty if nothing does."""
        if not self.watched or self.cluster != "slurm" or not (line := self.in_queue()):
            return ""
        mine = [self.jobs[watched.key] for watched in self.watched.values() if watched.key in self.jobs]
        return "; ".join([line, *(stuck_line(*found) for found in sorted(held_back(mine)))])

    def in_queue(self) -> str:
        """Return how many runs are in the queue, with what ends their jobs; empty without any."""
        return queue_line(len(self.watched), numbers) if (numbers := self.numbers()) else ""

    def numbers(self) -> list[str]:
        """Return the numbers of the arrays that are watched."""
        names = {watched.key[0] for watched in self.watched.values()}
        return [made.number for made in self.submissions.all() if made.name in names and made.number]

    def give_up(self) -> None:
        """Cancel the jobs of the study."""
        self.queue.cancel([number for listed in self.numbers() for number in listed.split()])

    def tidy(self) -> None:
        """Forget the runs that are over, and cancel the jobs that are queued for none but them."""
        numbers = [removed.number for removed in self.submissions.tidy() if removed.number]
        if numbers and self.cluster == "slurm":
            self.queue.cancel(["--state=PENDING", *numbers])

    def forget(self, runs: Sequence[PlannedRun]) -> None:
        """Remove what was kept in the store for these runs, which are all over."""
        self.find(runs)
        self.close()

    def close(self) -> None:
        """Remove what the runs that are over need no more. Jobs go on."""
        if self.submissions.folder.is_dir():
            with suppress(UserError, OSError), self.submissions.locked():
                self.tidy()
            for folder in (self.submissions.folder, self.submissions.folder.parent):
                with suppress(OSError):  # not empty
                    folder.rmdir()


def slices(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Return the items in slices of ``count``."""
    return [items[at : at + count] for at in range(0, len(items), count)]
