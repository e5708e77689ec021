"""Seconds of the commands that begin every session, beside those of importing torch.

    python benchmarks/startup.py [--rounds 5] [OVERRIDE ...]

Each round starts, in turn: a Python that imports torch, one that imports torchvision as well, `bot-train --help`,
`bot-train` with the overrides (the digits by default) to its first step, which is told by its progress, the same to
its end, the same line again when the run is finished, and the plan of a factorial of eight tricks, 256 arms. Median,
and the ratio to the import of torch in the same round; the processor's time beside it, which other work disturbs
less.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

IMPORT = "import torch"
BOTH = "import torch, torchvision"
TRAIN = "import sys; from bagoftricks.cli.train import main; main(sys.argv[1:])"
PLAN = "import sys; from bagoftricks.cli.sweep import main; main(sys.argv[1:])"
FACTORIAL = [
    "design=factorial",
    "tricks=[resnet_d,mixup,cosine,label_smoothing,se,ema,dropout,zero_gamma]",
    "plan=true",
]
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


def seconds(code: str, *arguments: str) -> tuple[float, float]:
    """Return the wall time and the processor time of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    spent: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds + 1):
            store = f"store={folder}/{number}"
            ways = {
                "import torch": (IMPORT,),
                "import torch, torchvision": (BOTH,),
                "bot-train --help": (HELP,),
                "bot-train to its first step": (FIRST_STEP, f"{store}-stopped", *given.overrides),
                "bot-train to its end": (TRAIN, store, *given.overrides),
                "bot-train again": (TRAIN, store, *given.overrides),
                "bot-sweep plan=true, 256 arms": (PLAN, *FACTORIAL, f"store={folder}/plan"),
            }
            for name, way in ways.items():
                took = seconds(*way)
                if number:  # the first round fills the file cache and, with data of files, the data cache
                    spent.setdefault(name, []).append(took)
    base = spent["import torch"]
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; n = {given.rounds} processes each\n\n"
        "| from the start of the process | s, median | times the import | processor s | times the import |\n"
        "|---|---|---|---|---|"
    )
    for name, took in spent.items():
        cells = []
        for which in (0, 1):
            ratio = median(mine[which] / other[which] for mine, other in zip(took, base, strict=True))
            cells.append(f"{median(each[which] for each in took):.2f} | {ratio:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
