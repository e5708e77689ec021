"""SLURM's queue, as its commands print it."""

import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from bagoftricks.engines.submissions import JobKey, Submission
from bagoftricks.errors import UserError

ANSWER_SECONDS = 120.0
OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}  # states of a job that does not begin again
LOST_STATES = {
    "BOOT_FAIL",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
    "DEADLINE",
}  # not by its own fault
STATE_ADVICE = {
    "OUT_OF_MEMORY": "type a larger engine.mem_gb=",
    "TIMEOUT": "type a larger engine.time= (minutes)",
    "DEADLINE": "type a larger engine.time= (minutes)",
    "CANCELLED": "somebody cancelled it",
    "NODE_FAIL": "its node failed",
}
KILLED = "out of memory? type a larger engine.mem_gb="


@dataclass(frozen=True)
class QueuedJob:
    """Job as the queue shows it."""

    number: str  # 12, or 12_3 in an array
    state: str  # SLURM's word
    reason: str = ""  # of its waiting, in SLURM's words

    @property
    def over(self) -> bool:
        return self.state in OVER


@dataclass(frozen=True)
class JobEnd:
    """End of a job: SLURM's word, and its exit code."""

    state: str = "UNKNOWN"
    code: int = 0
    signal: int = 0

    @property
    def status(self) -> int:
        """Exit status of the job; -N if it was lost by no fault of its own."""
        if self.state == "FAILED" and 0 < self.code < 128 and not self.signal:
            return self.code
        return -(self.signal or max(9, self.code - 128))

    def described(self) -> str:
        """Return the end in words, with what to type."""
        signal = self.signal or max(0, self.code - 128)
        how = f" by signal {signal}" if signal else f" with exit status {self.code}" if self.code else ""
        advice = STATE_ADVICE.get(self.state) or (KILLED if signal == 9 else "")
        state = "without a word" if self.state == "UNKNOWN" else f"as {self.state}"
        return f"ended {state}{how}" + (f" ({advice})" if advice else "")


class SlurmQueue:
    """Queue of a cluster: one call for all jobs."""

    pauses = (2.0, 15.0)  # seconds between two calls: after a change, and at most

    def jobs(self, submissions: Iterable[Submission]) -> dict[JobKey, QueuedJob]:
        """Return the jobs that the queue knows."""
        listed = sorted({submission.name for submission in submissions})
        if not listed:
            return {}
        shown = ("--array", "--noheader", "--states=all", "--format=%j|%i|%T|%r")
        found = {}
        for line in slurm_answer("squeue", *shown, f"--name={','.join(listed)}").splitlines():
            name, number, state, reason = line.strip().split("|", 3)
            index = number.partition("_")[2]
            found[name, int(index) if index.isdecimal() else 0] = QueuedJob(number, state, reason)
        return found

    def end(self, job: QueuedJob) -> JobEnd:
        """Return how a job ended, from the queue's memory or from the accounting."""
        with suppress(UserError):
            shown = slurm_answer("scontrol", "show", "job", job.number, "--oneliner")
            facts = dict(re.findall(r"\b(JobState|ExitCode)=(\S+)", shown))
            return _end(facts.get("JobState", job.state), facts.get("ExitCode", ""))
        with suppress(UserError):  # forgotten after some minutes; not every cluster has accounting
            shown = slurm_answer("sacct", "-j", job.number, "-X", "--noheader", "-P", "--format=State,ExitCode")
            state, _, code = shown.partition("\n")[0].partition("|")
            return _end(state.partition(" ")[0] or job.state, code)
        return JobEnd(job.state)

    def cancel(self, numbers: Iterable[str]) -> None:
        """Cancel jobs."""
        with suppress(UserError):
            slurm_answer("scancel", *numbers)


def _end(state: str, code: str) -> JobEnd:
    status, _, signal = code.partition(":")
    return JobEnd(state, int(status or 0), int(signal or 0))


def slurm_answer(*command: str) -> str:
    """Return the output of one of SLURM's commands. Raises UserError with its first line of complaint."""
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"engine=slurm: there is no {command[0]} here: type the command on a machine that submits jobs to SLURM, "
            "or engine=local"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"engine=slurm: {command[0]} gave no answer in {ANSWER_SECONDS:.0f} s") from error
    if made.returncode:
        raise UserError(f"engine=slurm: {complaint(made.stderr) or command[0] + ' failed'}")
    return made.stdout


def complaint(text: str) -> str:
    """Return the first line of what a command of SLURM complains about."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
