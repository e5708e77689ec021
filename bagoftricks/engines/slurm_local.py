"""Jobs of submitit's local executor: processes on this machine in place of SLURM, to try a study out."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from bagoftricks.engines.slurm_queue import JobEnd, QueuedJob
from bagoftricks.engines.submissions import JobKey, Submission
from bagoftricks.store.lease import born


class LocalQueue:
    """Processes as the jobs of a queue; the number of a submission lists each process with its start."""

    pauses = (0.5, 0.5)

    def jobs(self, submissions: Iterable[Submission]) -> dict[JobKey, QueuedJob]:
        """Return the jobs whose processes live."""
        found = {}
        for submission in submissions:
            for index, number in enumerate(submission.number.split()):
                pid, _, start = number.partition(":")
                if born(int(pid)) == start:
                    found[submission.name, index] = QueuedJob(pid, "RUNNING")
        return found

    def end(self, job: QueuedJob) -> JobEnd:
        """Return how a job ended: submitit's local executor tells nothing."""
        return JobEnd()

    def cancel(self, numbers: Iterable[str]) -> None:
        """Stop jobs, whose runs are saved."""
        for number in numbers:
            with suppress(OSError, ValueError):
                os.kill(int(number.partition(":")[0]), signal.SIGTERM)


def local_number(pids: Iterable[str]) -> str:
    """Return the number of a submission whose jobs are these processes."""
    return " ".join(f"{pid}:{born(int(pid))}" for pid in pids)
