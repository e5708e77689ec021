"""Runs at once or one after another: what k processes on one device give over one process with all its threads.

    python benchmarks/slots.py [--slots 1 2] [--runs 4] [--rounds 3] OVERRIDE ...

Each round trains the same study, `--runs` seeds of the overrides, in one `bot-sweep` for each number of slots, in turn,
the order turning too; every sweep has a store of its own. On a CPU, each of k slots has a k-th of the cores as threads.
Printed: the wall time of the sweep and, within it, how long the runs trained; medians.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared import Report, arguments, in_turn, ratios, spread


def sweep(overrides: list[str], slots: int, runs: int) -> tuple[float, float]:
    """Seconds of a sweep from its start to its end, and those its runs trained, added up."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "bagoftricks.cli.sweep", "design=stack", "tricks=[label_smoothing]",
                   f"seeds={runs // 2}", f"slots={slots}", f"store={store}", "format=json", *overrides]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took = time.perf_counter() - start
        records = [json.loads(path.read_text(encoding="utf-8")) for path in Path(store).glob("*/record.json")]
    if len(records) != runs // 2 * 2:
        sys.exit(f"{len(records)} of {runs} runs have a record")
    return took, sum(record["cost"]["train_seconds"] for record in records)


def main() -> None:
    parser = arguments(__doc__, runs=4, rounds=3)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2])
    given = parser.parse_intermixed_args()
    ways = {str(slots): lambda _, slots=slots: sweep(given.overrides, slots, given.runs) for slots in given.slots}
    spent = in_turn(ways, given.rounds, warm=0)
    report = Report(
        f"{given.runs} runs of {' '.join(given.overrides) or 'the default'}, n = {given.rounds} sweeps each"
    )
    walls = {slots: [took for took, _ in each] for slots, each in spent.items()}
    base, rows = walls[str(given.slots[0])], []
    for slots, each in walls.items():
        ratio, trained = ratios(base, each), spread(trained for _, trained in spent[slots])
        rows.append([slots, spread(each).text(1), ratio.text(), trained.text(1)])
        if each is not base:
            report.ratio(f"{given.runs} runs, slots={slots}", f"slots={given.slots[0]}", ratio)
    report.table(["slots", "wall time, s [quartiles]", "wall time of the first over it", "training in it, s"], rows)


if __name__ == "__main__":
    main()
