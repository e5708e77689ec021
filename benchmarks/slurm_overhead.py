"""What a run costs on SLURM beyond its training and beyond an empty job of submitit's own.

    python benchmarks/slurm_overhead.py [--runs 200] [--epochs 4] [--per-job 50] [--slots 1]

Runs of about a second on the digits, on the SLURM that the environment names (scripts/slurm-local starts one).
Measured for each run: from the start of the first one to the end of the last one, less what the records say of them
shared out over the slots. An empty job is submitted and waited for in the same way, through submitit alone.
"""

import tempfile
import time
from statistics import median

from shared import Report, arguments, spread

from bagoftricks.cli.compose import compose_settings
from bagoftricks.engines.base import Limits, make_engine
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import PlannedRun
from bagoftricks.study.planner import make_plan

SECOND = ["batch_size=64", "model.depths=[1,1]", "model.width=4", "image_size=8", "data.pad=1", "runtime.device=cpu"]


class Clock:
    """A view that keeps when the first run began and the last one ended."""

    def __init__(self) -> None:
        self.first, self.last = 0.0, 0.0

    def started(self, run: PlannedRun) -> None:
        self.first = self.first or time.perf_counter()

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: object) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None: ...

    def finished(self, run: PlannedRun, state: object, seconds: float) -> None:
        self.last = time.perf_counter()


def empty_job(folder: str, times: int = 5) -> float:
    """Median seconds of a job that does nothing, from its submission to its result."""
    import submitit

    executor, took = submitit.SlurmExecutor(folder), []
    executor.update_parameters(time=5)
    for _ in range(times):
        start = time.perf_counter()
        job = executor.submit(int)
        while not job.paths.result_pickle.exists():
            time.sleep(0.05)
        took.append(time.perf_counter() - start)
    return median(took)


def main() -> None:
    given = arguments(__doc__, runs=200, epochs=4, per_job=50, slots=1).parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        overrides = [*SECOND, f"epochs={given.epochs}", f"store={folder}/runs"]
        plan = make_plan([Arm(label="baseline")], range(given.runs), overrides, compose_settings)
        clock, store = Clock(), Store(f"{folder}/runs")
        carry_out_study(plan.runs, clock, make_engine("slurm", {"runs_per_job": given.per_job}), Limits(given.slots))
        walls = [record.cost.wall_seconds for run in plan.runs if (record := store.record(run.id))]
        empty = empty_job(f"{folder}/empty")
    each = (clock.last - clock.first - sum(walls) / given.slots) / len(walls)
    headings = [
        "runs",
        "a job",
        "s each [quartiles]",
        "s beyond them, mean",
        "s of an empty job of submitit's, median of 5",
    ]
    Report(f"{given.slots} at a time").table(
        headings, [[len(walls), given.per_job, spread(walls).text(), f"{each:.3f}", f"{empty:.2f}"]]
    )


if __name__ == "__main__":
    main()
