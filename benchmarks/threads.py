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
from statistics import median

DIGITS = ["epochs=4"]
CIFAR = ["data=imagefolder", "epochs=2"]  # one epoch alternates no flips, which preset=fast does
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as a folder of images")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--recipes", nargs="+", default=["default", "cifar_laptop", "fast"])
    given = parser.parse_args()
    recipes = {"default": DIGITS}
    if given.cifar:
        here = [*CIFAR, f"data.root={given.cifar}", f"data.limit={given.images}"]
        recipes |= {name: [f"preset={name}", *here] for name in ("cifar_laptop", "fast")}
    print(f"{os.cpu_count()} cores; n = {given.rounds}\n")
    print("| recipe | busy processes | auto, s (threads) | 1 thread, s | 2 threads, s | auto over the best |")
    print("|---|---|---|---|---|---|")
    for name, overrides in recipes.items():
        if name not in given.recipes:
            continue
        for load in given.busy:
            spent: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
            with busy(load):
                for number in range(given.rounds):
                    for way in WAYS[:: 1 if number % 2 else -1]:
                        spent[way].append(trained(overrides, way))
            auto, one, two = (median(seconds for seconds, _ in spent[way]) for way in WAYS)
            chosen = "/".join(str(threads) for threads in sorted({threads for _, threads in spent["auto"]}))
            print(
                f"| {name} | {load} | {auto:.2f} ({chosen}) | {one:.2f} | {two:.2f} | {auto / min(one, two):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
