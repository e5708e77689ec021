"""Ends of jobs: how a run ended whose job is over, by the job's own note, by SLURM, and by the job's log."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from bagoftricks.engines.base import INTERRUPTED, LOST, Ended
from bagoftricks.engines.slurm_job import NOTE, TIME_IS_UP
from bagoftricks.engines.slurm_local import LocalQueue
from bagoftricks.engines.slurm_queue import JobEnd, QueuedJob, SlurmQueue
from bagoftricks.engines.slurm_setup import setup_failure
from bagoftricks.engines.submissions import JobKey, Submissions
from bagoftricks.study.plan import PlannedRun

LAST_LINES = 40


@dataclass(frozen=True)
class JobEnds:
    """Jobs that are over."""

    queue: SlurmQueue | LocalQueue
    submissions: Submissions
    jobs: Mapping[JobKey, QueuedJob]

    def of(self, run: PlannedRun, key: JobKey) -> tuple[Ended, JobEnd]:
        """Return the end of a run whose job is over, and that of the job."""
        number = self.number(key)
        end = self.queue.end(self.jobs.get(key, QueuedJob(number, "UNKNOWN")))
        if end.state == "CANCELLED":
            return Ended(run, INTERRUPTED), end
        with suppress(OSError):
            note = self.submissions.spec(*key).with_suffix(NOTE).read_text(encoding="utf-8")
            return Ended(run, LOST if note == TIME_IS_UP else 1, how=note), end
        log = self.last_words(key)
        if why := setup_failure(log):
            return Ended(run, 1, how=f"did not start: {why}", log=log), end
        words = log.splitlines()[-1:] if end.status > 0 else []
        how = ": ".join([f"was in job {number}, which {end.described()}", *words])
        return Ended(run, end.status, how=how, log=log), end

    def number(self, key: JobKey) -> str:
        """Return the number of a job, also of one that the queue has forgotten."""
        if key in self.jobs:
            return self.jobs[key].number
        made = next((found for found in self.submissions.all() if found.name == key[0]), None)
        if made is None:
            return str(key[1])
        if isinstance(self.queue, LocalQueue):
            return made.number.split()[key[1]].partition(":")[0]
        return f"{made.number}_{key[1]}" if len(made.jobs) > 1 else made.number

    def last_words(self, key: JobKey) -> str:
        """Return the end of what a job printed on its standard error."""
        name, index = key
        files = self.submissions.files(name)
        several = len(list(files.glob("runs-*.json"))) > 1
        number = self.number(key) if isinstance(self.queue, LocalQueue) else f"*_{index}" if several else "*"
        found = sorted(files.glob(f"{number}_0_log.err"))
        with suppress(OSError):
            lines = found[0].read_text(encoding="utf-8", errors="replace").splitlines() if found else []
            return "\n".join([line for line in lines if line.strip()][-LAST_LINES:])
        return ""
