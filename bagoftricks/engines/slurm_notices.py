"""Lines on standard error about the queue, each once: what is in it, what may never start, and its silence."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from bagoftricks.engines.slurm_queue import QueuedJob
from bagoftricks.engines.submissions import JobKey
from bagoftricks.errors import UserError, printable

ENGINE = "engine=slurm: "
NEVER = {
    *("AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
    *("JobHeldAdmin", "JobHeldUser", "PartitionConfig", "PartitionDown", "PartitionInactive", "PartitionNodeLimit"),
    *("PartitionTimeLimit", "QOSNotAllowed", "ReqNodeNotAvail"),
}  # reasons of a job's waiting that waiting alone may not mend
PER_JOB = "PerJobLimit"  # end of others, as QOSMaxCpuPerJobLimit


class Notices:
    """Memory of what was said."""

    def __init__(self) -> None:
        self.said: set[str] = set()
        self.silent = False
        self.stuck: set[tuple[str, str]] = set()  # array and reason, as last seen

    def once(self, line: str) -> None:
        """Print a line that was not printed before."""
        if line and line not in self.said:
            self.said.add(line)
            print(printable(ENGINE + line), file=sys.stderr, flush=True)

    def silence(self, error: UserError) -> None:
        """Say that the queue does not answer, at the first time in a row."""
        if not self.silent:
            self.silent, words = True, str(error).removeprefix(ENGINE)
            self.said.discard(f"SLURM does not answer ({words}): waiting for it")
            self.once(f"SLURM does not answer ({words}): waiting for it")

    def answer(self, jobs: Mapping[JobKey, QueuedJob]) -> None:
        """Say that the queue answers again, and which jobs it holds back at a second look too."""
        if self.silent:
            self.silent = False
            self.said.discard("SLURM answers again")
            self.once("SLURM answers again")
        found = held_back(jobs.values())
        for number, reason in sorted(found & self.stuck):
            self.once(stuck_line(number, reason))
        self.stuck = found


def held_back(jobs: Iterable[QueuedJob]) -> set[tuple[str, str]]:
    """Return the arrays that wait for a reason which may not pass, with that reason."""
    return {(job.number.partition("_")[0], job.reason) for job in jobs if job.state == "PENDING" and never(job.reason)}


def never(reason: str) -> bool:
    return reason.partition(",")[0] in NEVER or reason.endswith(PER_JOB)


def queue_line(runs: int, numbers: Sequence[str]) -> str:
    """Return how many runs are in the queue, with what ends their jobs."""
    those = "1 run is" if runs == 1 else f"{runs} runs are"
    ends = f"(scancel {' '.join(numbers)} ends {'it' if len(numbers) == 1 else 'them'})"
    return f"{those} in the queue of SLURM as job {', '.join(numbers)} {ends}"


def stuck_line(number: str, reason: str) -> str:
    """Return that a job may never start, with what ends it."""
    return f"job {number} may never start: SLURM holds it back for {reason} (scancel {number} ends it)"
