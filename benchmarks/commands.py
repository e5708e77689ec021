"""Seconds of the commands that train nothing, on a store of 1,000 runs, next to those of importing pandas.

    python benchmarks/commands.py [--rounds 5] [--runs 1000]

One run is trained on the digits; the store holds copies of its record with other ids, seeds and rates, each sealed as a
run seals it and with its metrics beside it. Each round starts, in turn, `import pandas` and every command; the median,
and the median of the ratios to the import in the same round. Standard output goes to a pipe.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from bagoftricks.store.record import read_record
from bagoftricks.store.store import METRICS, Store

MAIN = "import sys; from bagoftricks.cli.{} import main; sys.exit(main(sys.argv[1:]))"
COMMANDS = {
    "bagoftricks": ("overview", []),
    "bot-train --help": ("train", ["--help"]),
    "bot-train --help mixup": ("train", ["--help", "mixup"]),
    "bot-train --help tricks": ("train", ["--help", "tricks"]),
    "bot-train --help lr": ("train", ["--help", "lr"]),
    "completion of +refine=": ("train", ["--complete", "zsh", "bot-train", "+refine=m"]),
    "completion of a run's id": ("eval", ["--complete", "zsh", "bot-eval", "store={store}", "run="]),
    "bot-table": ("table", ["store={store}"]),
    "bot-table where= sort=": ("table", ["store={store}", "where=top1>10 lr<0.5", "sort=-top1", "limit=20"]),
    "bot-table format=json": ("table", ["store={store}", "format=json"]),
    "bot-runs": ("runs", ["list", "store={store}"]),
}


def make_store(folder: Path, runs: int) -> None:
    """Train one run and copy its record under other ids."""
    train = [sys.executable, "-c", MAIN.format("train"), f"store={folder}/one", "epochs=5", "runtime.progress=false"]
    subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
    (path,) = (folder / "one").glob("*/record.json")
    record, store = read_record(path), Store(folder / "many")
    for number in range(runs):
        made = replace(record, id=f"{number:020x}", seed=number % 5)
        made.config.update(seed=number % 5, lr=0.001 * (number // 5 + 1))
        store.folder(made.id).mkdir(parents=True)
        shutil.copy(path.with_name(METRICS), store.folder(made.id))
        store.write_record(made)


def seconds(code: str, *arguments: str) -> float:
    """Return the wall time of a process. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1000)
    given = parser.parse_args()
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), given.runs)
        for number in range(given.rounds + 1):
            took = {"import pandas": seconds("import pandas")}
            for name, (module, arguments) in COMMANDS.items():
                filled = [argument.format(store=f"{folder}/many") for argument in arguments]
                took[name] = seconds(MAIN.format(module), *filled)
            for name, value in took.items() if number else ():  # the first round fills the file cache
                spent.setdefault(name, []).append(value)
    base = spent["import pandas"]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; {given.runs:,} runs; n = {given.rounds}\n")
    print("| process | s, median | times the import |\n|---|---|---|")
    for name, values in spent.items():
        ratio = median(mine / other for mine, other in zip(values, base, strict=True))
        print(f"| {name} | {median(values):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
