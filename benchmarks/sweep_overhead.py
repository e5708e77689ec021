"""What a sweep costs beyond the training itself.

    python benchmarks/sweep_overhead.py [--runs 100] [--workers 20] [--factorial EPOCHS]

Runs of one step on the digits. Printed: the time to plan 256 runs, and per run the time beyond what its own record
says, for a run that is done, one that is trained in this process, and one in a preloaded worker process.
With --factorial, all 32 arms of five tricks are trained for so many epochs instead, in this process and in workers, one
at a time: the wall time of the sweep over the sum of the training times in its records.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations

from shared import Report, arguments, seconds, spread

from bagoftricks.cli.compose import compose_settings
from bagoftricks.engines.base import Limits, make_engine
from bagoftricks.engines.here import run_here
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.store.store import Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import PlannedRun, states
from bagoftricks.study.planner import make_plan

ONE_STEP = ["batch_size=1438", "model.depths=[1]", "model.width=4"]
TRICKS = ["resnet_d", "linear_scaling", "zero_gamma", "no_bias_decay", "label_smoothing", "mixup"]


def run_in_workers(runs: Sequence[PlannedRun], view: "Silent") -> None:
    """Train the runs in worker processes, one at a time."""
    carry_out_study(runs, view, make_engine("local", {}), Limits(1))


class Silent:
    """A view that keeps when each run began and ended."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = {}

    def started(self, run: PlannedRun) -> None:
        self.began[run.id] = time.perf_counter()

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: object) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None: ...

    def finished(self, run: PlannedRun, state: object, seconds: float) -> None:
        self.took[run.id] = time.perf_counter() - self.began[run.id]


def beyond_training(runs: Sequence[PlannedRun], store: Store, view: Silent) -> list[float]:
    """Seconds of each run that its record does not account for."""
    records = {run.id: store.record(run.id) for run in runs}
    return [view.took[name] - record.cost.wall_seconds for name, record in records.items() if record is not None]


def factorial(epochs: int) -> Iterator[list[object]]:
    """Yield the wall time of a 2^5 factorial over what its runs trained."""
    chosen = [some for k in range(6) for some in combinations(TRICKS[:5], k)]
    arms = [Arm(label="+".join(some) or "baseline", tricks={name: {} for name in some}) for some in chosen]
    for name, carry_out in (("this process", run_here), ("workers", run_in_workers)):
        with tempfile.TemporaryDirectory() as folder:
            overrides, store = [f"epochs={epochs}", "runtime.eval_every=1000", f"store={folder}"], Store(folder)
            start = time.perf_counter()
            plan = make_plan(arms, [0], overrides, compose_settings)
            carry_out(plan.runs, Silent())
            wall = time.perf_counter() - start
            costs = [record.cost for run in plan.runs if (record := store.record(run.id))]
        trained = sum(cost.train_seconds for cost in costs)
        yield [len(costs), name, f"{wall:.1f}", f"{trained:.1f}", f"{wall / trained:.2f}"]


def overhead(given: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the seconds that planning takes, and a run beyond its training."""
    with tempfile.TemporaryDirectory() as folder:
        overrides, store = [*ONE_STEP, f"epochs={given.epochs}", f"store={folder}"], Store(folder)
        sets = [chosen for k in range(len(TRICKS) + 1) for chosen in combinations(TRICKS, k)]
        arms = [Arm(label="+".join(chosen) or "baseline", tricks={name: {} for name in chosen}) for chosen in sets]
        compose_settings(overrides)  # imports and first use
        plans = [seconds(lambda: make_plan(arms, range(4), overrides, compose_settings)) for _ in range(3)]
        yield [f"a plan of {4 * len(arms)} runs", spread(plans).text()]
        many = make_plan(arms[:1], range(given.runs + given.workers), overrides, compose_settings)
        for what, carry_out, runs in (
            ("a run in this process", run_here, many.runs[: given.runs]),
            ("a run in a worker", run_in_workers, many.runs[given.runs :]),
        ):
            view = Silent()
            carry_out(runs, view)
            yield [f"{what}, beyond its record", spread(beyond_training(runs, store, view)).text(3)]
            costs = [record.cost for run in runs if (record := store.record(run.id))]
            yield [f"{what}, of its record", spread(cost.wall_seconds for cost in costs).text(3)]
            peaks = [f"{costs[at].peak_memory_mib:.0f}" for at in (0, len(costs) // 2, -1)]
            yield [f"{what}, peak memory in MiB: the first, the middle, the last one", ", ".join(peaks)]
        done = seconds(lambda: states(many, store)) / len(many.runs)
        yield ["a run that is done", f"{done:.5f}"]


def main() -> None:
    parser = arguments(__doc__, runs=100, workers=20, epochs=1)
    parser.add_argument("--factorial", type=int, default=0, metavar="EPOCHS")
    given = parser.parse_args()
    if given.factorial:
        headings = ["arms", "trained in", "wall time, s", "training in it, s", "wall time over training"]
        Report("2^5 factorial, one run at a time").table(headings, factorial(given.factorial))
    else:
        Report(f"runs of {given.epochs} steps, {given.runs} here, {given.workers} in workers").table(
            ["what", "s [quartiles]"], overhead(given)
        )


if __name__ == "__main__":
    main()
