"""Seconds of the commands that begin every session, beside those of importing torch.

    python benchmarks/startup.py [--rounds 5] [OVERRIDE ...]

Each round starts, in turn: a Python that imports torch, one that imports torchvision as well, `bot-train --help`,
`bot-train` with the overrides (the digits by default) to its first step, which is told by its progress, the same to
its end, the same line again when the run is finished, and the plan of a factorial of eight tricks, 256 arms. Median,
and the ratio to the import of torch in the same round; the processor's time beside it, which other work disturbs
less.
"""

import resource
import subprocess
import sys
import tempfile

from shared import Report, arguments, in_turn, ratios, seconds, spread

IMPORT = "import torch"
BOTH = "import torch, torchvision"
TRAIN = "import sys; from bagoftricks.cli.train import main; main(sys.argv[1:])"
PLAN = "import sys; from bagoftricks.cli.sweep import main; main(sys.argv[1:])"
FACTORIAL = [
    "design=factorial",
    "tricks=[resnet_d,mixup,cosine,label_smoothing,se,ema,dropout,zero_gamma]",
    "plan=true",
]
FIRST = "bot-train to its first step"
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


def start(code: str, *given: str) -> tuple[float, float]:
    """Return the wall time and the processor time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, *given]
    wall = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, typed = f"store={folder}", given.overrides
        ways = {
            IMPORT: lambda _: start(IMPORT),
            BOTH: lambda _: start(BOTH),
            "bot-train --help": lambda _: start(HELP),
            FIRST: lambda number: start(FIRST_STEP, f"{store}/{number}-stopped", *typed),
            "bot-train to its end": lambda number: start(TRAIN, f"{store}/{number}", *typed),
            "bot-train again": lambda number: start(TRAIN, f"{store}/{number - 1}", *typed),
            "bot-sweep plan=true, 256 arms": lambda _: start(PLAN, *FACTORIAL, f"{store}/plan"),
        }
        spent = in_turn(ways, given.rounds)  # the first round fills the file cache and, with files, the data cache
    report = Report(f"n = {given.rounds} processes each")
    rows = []
    for name, each in spent.items():
        pairs = [list(zip(*took, strict=True)) for took in (each, spent[IMPORT])]
        both = [(spread(mine), ratios(mine, base)) for mine, base in zip(*pairs, strict=True)]
        rows.append([name, *(cell.text() for pair in both for cell in pair)])
        report.bar("From the start of the process", "s", name, both[0][0], floor=name == IMPORT)
        if name == FIRST:
            report.ratio("start to the first step on the digits", IMPORT, ratios(pairs[1][0], pairs[0][0]))
    headings = ["s [quartiles]", "times the import", "processor s", "times the import"]
    report.table(["from the start of the process", *headings], rows)


if __name__ == "__main__":
    main()
