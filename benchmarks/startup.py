"""Seconds from the start of a process to its help text and to its first step, beside those of importing torch.

    python benchmarks/startup.py [--rounds 5] [OVERRIDE ...]

Each round starts, in turn: a Python that imports torch and torchvision, `bot-train --help`, and `bot-train` with the
overrides (the digits by default), whose first step is told by its progress. Median, and the ratio to the import.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

IMPORT = "import torch, torchvision"
HELP = "from bagoftricks.cli.train import main; main(['--help'])"
FIRST_STEP = """
import os, sys
from bagoftricks.training.trainer import Trainer
step = Trainer.step
def first(self, batch):
    step(self, batch)
    sys.stdout.flush()
    os._exit(0)
Trainer.step = first
from bagoftricks.cli.train import main
main(sys.argv[1:])
"""


def seconds(code: str, *arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as store:
        for number in range(given.rounds + 1):
            ways = {
                "import torch, torchvision": seconds(IMPORT),
                "bot-train --help": seconds(HELP),
                "bot-train to its first step": seconds(FIRST_STEP, f"store={store}/{number}", *given.overrides),
            }
            for name, took in ways.items():
                if number:  # the first round fills the file cache and, with data of files, the data cache
                    spent.setdefault(name, []).append(took)
    base = spent["import torch, torchvision"]
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; n = {given.rounds} processes each\n\n"
        "| from the start of the process | s, median | times the import |\n|---|---|---|"
    )
    for name, took in spent.items():
        ratio = median(mine / other for mine, other in zip(took, base, strict=True))
        print(f"| {name} | {median(took):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
