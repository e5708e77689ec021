"""runtime.threads=auto over the best number by hand, on a quiet machine and next to busy processes.

    python benchmarks/threads.py [--cifar CIFAR_FOLDER] [--busy 0 1 2] [--rounds 3] [--images 2000] [--recipes fast]

Each round trains each recipe with auto, 1 and 2 threads in turn, the order turning too, in a process and a store of its
own. Printed: the seconds that the training took, medians, and auto over the better of the two.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import Report, arguments, in_turn, spread

WAYS = ("auto", "1", "2")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep ``processes`` cores busy for as long as the block lasts."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def trained(overrides: list[str], threads: str) -> tuple[float, int]:
    """Return the seconds of one training, and the threads that it computed with."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "bagoftricks.cli.train", *overrides, f"runtime.threads={threads}",
                   "runtime.device=cpu", "runtime.progress=false", f"store={store}", "format=json"]  # fmt: skip
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    record = json.loads(done.stdout)
    return record["cost"]["train_seconds"], record["environment"]["threads"]


def rows(given: argparse.Namespace) -> Iterator[list[str]]:
    recipes = {"default": [f"epochs={2 * given.epochs}"]}
    if given.cifar:
        here = ["data=imagefolder", f"epochs={given.epochs}", f"data.root={given.cifar}", f"data.limit={given.images}"]
        recipes |= {name: [f"preset={name}", *here] for name in ("cifar_laptop", "fast")}
    for name in (name for name in recipes if name in given.recipes):
        for load in given.busy:
            ways = {way: lambda _, way=way, recipe=recipes[name]: trained(recipe, way) for way in WAYS}
            with busy(load):
                spent = in_turn(ways, given.rounds, warm=0)
            times = [spread(seconds for seconds, _ in spent[way]) for way in WAYS]
            chosen = "/".join(str(threads) for threads in sorted({threads for _, threads in spent["auto"]}))
            over = times[0].median / min(each.median for each in times[1:])
            yield [
                name,
                str(load),
                f"{times[0].text()} ({chosen})",
                *(each.text() for each in times[1:]),
                f"{over:.2f}",
            ]


def main() -> None:
    parser = arguments(
        __doc__, rounds=3, images=2000, epochs=2
    )  # one epoch alternates no flips, which preset=fast does
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as a folder of images")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=["default", "cifar_laptop", "fast"])
    given = parser.parse_args()
    headings = [
        "recipe",
        "busy processes",
        "auto, s [quartiles] (threads)",
        "1 thread, s",
        "2 threads, s",
        "auto over the best",
    ]
    Report(f"n = {given.rounds} trainings each").table(headings, rows(given))


if __name__ == "__main__":
    main()
