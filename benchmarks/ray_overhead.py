"""What a run costs on Ray beyond its training and beyond an empty task of Ray's own.

    python benchmarks/ray_overhead.py [--runs 200] [--epochs 4]

Runs of about a second on the digits, on a new cluster of this machine. For each one: the time from its submission to
its record in the store, in a queue of one run at a time, less what the record says of it. The empty task is submitted
and fetched in the same way. Printed: medians.
"""

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
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
    """A view that keeps when each run was finished."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.empty = 0.0

    def started(self, run: PlannedRun) -> None:
        if not self.empty:
            self.empty = empty_task()

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: object) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None: ...

    def finished(self, run: PlannedRun, state: object, seconds: float) -> None:
        self.ends.append(time.perf_counter())


def nothing() -> None:
    """Take no time."""


def empty_task() -> float:
    """Median seconds of a task that does nothing, from its submission to its result."""
    import ray

    task, took = ray.remote(num_cpus=0)(nothing), []
    for _ in range(50):
        start = time.perf_counter()
        ray.get(task.remote())
        took.append(time.perf_counter() - start)
    return median(took)


def beyond(runs: Sequence[PlannedRun], store: Store, ends: Sequence[float]) -> list[float]:
    """Seconds between two ends that the record of the second run does not account for."""
    records = [store.record(run.id) for run in runs]
    gaps = [after - before for before, after in pairwise(ends)]
    return [gap - record.cost.wall_seconds for gap, record in zip(gaps, records[1:], strict=True) if record]


def main() -> None:
    given = arguments(__doc__, runs=200, epochs=4).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*SECOND, f"epochs={given.epochs}", f"store={folder}"]
        plan = make_plan([Arm(label="baseline")], range(given.runs), overrides, compose_settings)
        clock, store = Clock(), Store(folder)
        carry_out_study(plan.runs, clock, make_engine("ray", {"address": "local"}), Limits(1))
        took = beyond(plan.runs, store, clock.ends)
        walls = [record.cost.wall_seconds for run in plan.runs if (record := store.record(run.id))]
    cells = [len(walls), spread(walls).text(), spread(took).text(3), f"{clock.empty:.4f}"]
    Report().table(["runs", "s each [quartiles]", "s beyond them", "s of an empty task of Ray's"], [cells])


if __name__ == "__main__":
    main()
