"""Seconds of the commands that train nothing, on a store of 1,000 runs, next to those of importing pandas.

    python benchmarks/commands.py [--rounds 5] [--runs 1000]

One run is trained on the digits; the store holds copies of its record with other ids, seeds and rates, each sealed as a
run seals it and with its metrics beside it. Each round starts, in turn, `import pandas` and every command; the median,
and the median of the ratios to the import in the same round. Standard output goes to a pipe.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from shared import Report, arguments, in_turn, ratios, seconds, spread

from bagoftricks.store.record import read_record
from bagoftricks.store.store import METRICS, Store

IMPORT = "import pandas"
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
    "bot-table where= sort=": ("table", ["store={store}", "where=top1>0.5 lr<0.5", "sort=-top1", "limit=20"]),
    "bot-table sort= limit=": ("table", ["store={store}", "sort=-top1", "limit=20"]),
    "bot-runs limit=": ("runs", ["list", "store={store}", "limit=20"]),
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
        scores = {name: replace(found, top1=number * 37 % 9973 / 100) for name, found in record.metrics.items()}
        made = replace(made, metrics=scores)
        made.config.update(seed=number % 5, lr=0.001 * (number // 5 + 1))
        store.folder(made.id).mkdir(parents=True)
        shutil.copy(path.with_name(METRICS), store.folder(made.id))
        store.write_record(made)


def start(code: str, *given: str) -> float:
    """Return the wall time of a process. Raises CalledProcessError if it fails."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", code, *given], check=True, stdout=subprocess.PIPE))


def main() -> None:
    given = arguments(__doc__, rounds=5, runs=1000).parse_args()
    ways = {IMPORT: lambda _: start(IMPORT)}
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), given.runs)
        for name, (module, typed) in COMMANDS.items():
            filled = [MAIN.format(module), *(word.format(store=f"{folder}/many") for word in typed)]
            ways[name] = lambda _, filled=filled: start(*filled)
        spent = in_turn(ways, given.rounds)  # the first round fills the file cache
    report = Report(f"a store of {given.runs:,} runs, n = {given.rounds} rounds")
    rows = ([name, spread(each).text(), ratios(each, spent[IMPORT]).text()] for name, each in spent.items())
    report.table(["process", "s [quartiles]", "times the import"], rows)
    for name, each in spent.items():
        report.bar(f"Commands that train nothing, {given.runs:,} runs", "s", name, spread(each), floor=name == IMPORT)
    report.ratio("bot-table on 1,000 runs", IMPORT, ratios(spent[IMPORT], spent["bot-table"]))


if __name__ == "__main__":
    main()
