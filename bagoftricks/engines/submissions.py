"""Submissions to a cluster as files in the store: which job carries out which run, and how often it was tried.

Each is a folder below ``engines/NAME``, named like its jobs in the cluster's queue. It is removed once all of its runs
are done or have failed.
"""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.settings import Settings
from bagoftricks.store.files import read_file, refuse_links, remove, write_whole
from bagoftricks.store.json_fields import from_json, parse_json, to_json
from bagoftricks.store.lease import claim
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun

ENGINES, SUBMISSION = "engines", "submission.json"  # folder of all engines in a store; file of one submission
JOB_FILES = "files"  # folder of what its jobs read and write; closed to other users: settings may hold secrets
SPEC_BYTES = 2**26
JobKey = tuple[str, int]  # name of a submission, and index of a job in it
LOCK_SECONDS = 120.0  # longer than a dead process of another machine keeps its lease


@dataclass(frozen=True)
class Submission:
    """Array of jobs that were submitted together."""

    name: str  # of its folder, and of its jobs in the queue
    jobs: tuple[tuple[str, ...], ...]  # ids of the runs of each job
    steps: dict[str, list[int]]  # by id of a run: its last checkpoint whenever a job was submitted for it
    number: str = ""  # of the array in the queue; empty: its submission has not returned
    asked: dict[str, str] = field(default_factory=dict)  # settings of the engine with which it was submitted

    def job_of(self, run_id: str) -> int:
        """Return the index of the job that carries out a run."""
        return next(index for index, ids in enumerate(self.jobs) if run_id in ids)


class Submissions:
    """Folder of the submissions of one engine."""

    def __init__(self, store: Store, engine: str) -> None:
        self.store = store
        self.folder = (store.root / ENGINES / engine).absolute()
        for folder in (self.folder.parent, self.folder):
            if folder.is_symlink():
                refuse_links(folder)

    def files(self, name: str) -> Path:
        """Return the folder of the files of a submission's jobs."""
        return self.folder / name / JOB_FILES

    def spec(self, name: str, index: int) -> Path:
        """Return the file from which a job reads its runs."""
        return self.files(name) / f"runs-{index}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from submitting within the block."""
        until = time.monotonic() + LOCK_SECONDS
        while (lease := claim(self.folder)) is None:
            if time.monotonic() > until:
                raise UserError(f"{self.folder}: another command has been submitting runs for {LOCK_SECONDS:.0f} s")
            time.sleep(0.2)
        with lease:
            yield

    def all(self) -> list[Submission]:
        """Return all submissions, the latest one last; those that cannot be read are left out."""
        found = []
        for path in sorted(self.folder.glob(f"*/{SUBMISSION}")):
            try:
                found.append(from_json(Submission, parse_json(read_file(path, SPEC_BYTES))))
            except (OSError, ValueError):  # removed meanwhile, or damaged: its runs are submitted again
                continue
        return found

    def write(self, submission: Submission) -> None:
        """Write down a submission."""
        text = json.dumps(to_json(submission))
        write_whole(self.folder / submission.name / SUBMISSION, lambda path: path.write_text(text, encoding="utf-8"))

    def begin(
        self, jobs: Sequence[Sequence[PlannedRun]], steps: dict[str, list[int]], time_limit: float | None
    ) -> Submission:
        """Write down a submission that is about to be made, and what its jobs are to do."""
        now = time.time_ns()
        name = f"bot-{time.strftime('%y%m%d-%H%M%S', time.localtime(now // 10**9))}-{now % 10**9:09}"
        files = self.files(name)
        files.mkdir(parents=True)
        files.chmod(0o700)
        for index, runs in enumerate(jobs):
            values = {"time_limit": time_limit, "runs": [run_values(run) for run in runs]}
            self.spec(name, index).write_text(json.dumps(values), encoding="utf-8")
        submission = Submission(name, tuple(tuple(run.id for run in runs) for runs in jobs), steps)
        self.write(submission)
        return submission

    def leave_out(self, done: Collection[str], *, keep: str = "") -> list[Submission]:
        """Leave these runs out of all submissions but ``keep``; remove those that have none left, and return them."""
        removed = []
        for submission in self.all():
            if submission.name == keep:
                continue
            steps = {run_id: at for run_id, at in submission.steps.items() if run_id not in done}
            if not steps:
                remove(self.folder / submission.name)
                removed.append(submission)
            elif len(steps) < len(submission.steps):
                self.write(replace(submission, steps=steps))
        return removed

    def tidy(self) -> list[Submission]:
        """Leave out the runs that are done or have failed; return the submissions that were removed."""
        ids = {run_id for submission in self.all() for run_id in submission.steps}
        over = (RunState.DONE, RunState.FAILED)
        return self.leave_out([run_id for run_id in ids if self.store.state(run_id) in over])


def newest_of(run_id: str, submissions: Sequence[Submission]) -> Submission | None:
    """Return the last submission of a run, None without one."""
    return next((found for found in reversed(submissions) if run_id in found.steps), None)


def run_values(run: PlannedRun) -> dict[str, object]:
    """Return a run as JSON for another process."""
    values = {name: getattr(run, name) for name in ("label", "seed", "id", "command", "evaluation")}
    return {**values, "settings": asdict(run.settings)}


def read_runs(path: Path) -> tuple[list[PlannedRun], float | None]:
    """Return the runs in a file, and the time limit of each in seconds."""
    values = parse_json(read_file(path, SPEC_BYTES))
    runs = [PlannedRun(**{**run, "settings": Settings.of(run["settings"])}) for run in values["runs"]]
    return runs, values["time_limit"]
