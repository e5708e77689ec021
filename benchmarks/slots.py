"""Runs at once or one after another: what k processes on one device give over one process with all its threads.

    python benchmarks/slots.py [--slots 1 2] [--runs 4] [--rounds 3] OVERRIDE ...

Each round trains the same study, `--runs` seeds of the overrides, in one `bot-sweep` for each number of slots, in turn,
the order turning too; every sweep has a store of its own. On a CPU, each of k slots has a k-th of the cores as threads.
Printed: the wall time of the sweep and, within it, how long the runs trained; medians.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    spent: dict[int, list[tuple[float, float]]] = {slots: [] for slots in given.slots}
    for number in range(given.rounds):
        for slots in given.slots[:: 1 if number % 2 else -1]:
            spent[slots].append(sweep(given.overrides, slots, given.runs))
    print(
        f"{os.cpu_count()} cores; {given.runs} runs of {' '.join(given.overrides) or 'the default'}; "
        f"n = {given.rounds} sweeps each\n\n"
        "| slots | wall time, s | wall time of the first over it | training in it, s |\n|---|---|---|---|"
    )
    base = [took for took, _ in spent[given.slots[0]]]
    for slots, each in spent.items():
        walls, trained = zip(*each, strict=True)
        ratio = median(first / wall for first, wall in zip(base, walls, strict=True))
        print(f"| {slots} | {median(walls):.1f} | {ratio:.2f} | {median(trained):.1f} |")


if __name__ == "__main__":
    main()
