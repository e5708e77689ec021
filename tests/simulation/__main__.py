"""Simulate studies whose truth is known and count false verdicts, intervals that hold, and what is found.

    scripts/simulate                               a minute: the cells of most interest
    scripts/simulate --full --minutes 10           all cells, for ten minutes of one core
    scripts/simulate --full --studies 20000        all cells, 20,000 studies each
    scripts/simulate --only advice                 cells whose name holds a word

Each batch depends on the cell's name and its own number, so results repeat, and the same command goes on where it was
stopped: FOLDER/simulation.json holds the counts. Time that is left goes to the cells nearest to the limits they are
held to. The exit status is 1 if a promise is broken.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.cells import SEED_PART, Cell, Counts, share
from tests.simulation.plan import FAR, PROMISES, all_cells, quick_cells, verdicts

SAVE_EVERY = 20.0  # seconds
ENOUGH = 1000  # studies of each cell, after which those near a limit come first


def read_counts(file: Path, cells: list[Cell]) -> dict[Cell, Counts]:
    """Return what was counted before."""
    saved = json.loads(file.read_text())["cells"] if file.exists() else {}
    return {cell: Counter(saved.get(cell.name, {})) for cell in cells}


def write_counts(file: Path, counts: dict[Cell, Counts]) -> None:
    """Replace the file in one step; cells that this run leaves out stay in it."""
    saved = json.loads(file.read_text())["cells"] if file.exists() else {}
    saved |= {cell.name: dict(of) for cell, of in counts.items() if of}
    text = json.dumps({"cells": saved}, indent=0, sort_keys=True)
    file.with_suffix(".new").write_text(text + "\n")
    file.with_suffix(".new").replace(file)


def urgency(cell: Cell, counts: Counts) -> float:
    """Return how near a cell is to a limit: the fewest standard errors, of any promise about it."""
    near = [
        abs(promise.beyond(found))
        for promise in PROMISES
        if promise.about(cell) and not promise.never and (found := share(counts, promise.measure)).of
    ]
    return min(near, default=FAR * 10)


def simulate(counts: dict[Cell, Counts], studies: int, until: float, file: Path) -> None:
    """Simulate batches until each cell has that many studies (0: no limit) or the time is over."""
    saved = time.process_time()
    while time.process_time() < until:
        fewest = min(of["batches"] * cell.studies for cell, of in counts.items())
        if studies and fewest >= studies:
            return
        behind = [cell for cell, of in counts.items() if of["batches"] * cell.studies <= fewest]
        cell = behind[0]
        if not studies and fewest >= ENOUGH:
            # Every cell has its share: those that are nearest to a limit go on.
            cell = min(counts, key=lambda each: (urgency(each, counts[each]) > FAR, counts[each]["batches"]))
        counts[cell] += cell.simulate(counts[cell]["batches"])
        counts[cell]["batches"] += 1
        if time.process_time() - saved > SAVE_EVERY:
            write_counts(file, counts)
            saved = time.process_time()


def markdown(counts: dict[Cell, Counts], command: str) -> str:
    """Return the verdicts and the table of all cells."""
    date = time.strftime("%Y-%m-%d")
    lines = ["# Simulated studies", "", f"`{command}`, {date}. Shares in %, ± one Monte Carlo standard error.", ""]
    lines += [
        f"sd: of the scores of one arm over its seeds; {SEED_PART:.0%} of its variance is what seeds do to all arms.",
        "",
    ]
    lines += _table(
        ["promise", "", "worst cell", "all cells", "cells beyond the limit"],
        [
            [v.promise.words, f"**{v.word}**", f"{v.found} ({v.worst})", str(v.overall), f"{v.beyond} of {v.cells}"]
            for v in verdicts(counts)
        ],
    )
    for kind in dict.fromkeys(cell.kind for cell in counts):
        of_kind = {cell: of for cell, of in counts.items() if cell.kind == kind and of["batches"]}
        measures = sorted({key[:-4] for of in of_kind.values() for key in of if key.endswith(": of")}, key=_order)
        rows = [
            [cell.name.partition(": ")[2], str(of["batches"] * cell.studies), *(str(share(of, m)) for m in measures)]
            for cell, of in of_kind.items()
        ]
        lines += ["", f"## {kind.capitalize()}", "", *_table(["cell", "studies", *measures], rows)]
    return "\n".join(lines) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]]


def _order(measure: str) -> tuple[int, str]:
    first = ["false verdict", "all intervals", "interval", "found 4 sd", "found 2 sd", "contradiction"]
    return (first.index(measure) if measure in first else len(first), measure)


def _arguments() -> argparse.Namespace:
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__, formatter_class=text)
    parser.add_argument("--full", action="store_true", help="all cells")
    parser.add_argument("--minutes", type=float, help="of processor time (default: 1, or no limit with --studies)")
    parser.add_argument("--studies", type=int, default=0, help="studies of each cell (default: what there is time for)")
    parser.add_argument("--only", default="", help="part of the names of the cells, of all of them")
    parser.add_argument("--folder", type=Path, default=Path("outputs/simulation"), help="of the counts and the table")
    return parser.parse_args()


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    cells = all_cells() if arguments.full or arguments.only else quick_cells()
    cells = [cell for cell in cells if arguments.only in cell.name]
    if not cells:
        print(f"no cell's name holds '{arguments.only}'; give less of it, or a word of the tables", file=sys.stderr)
        return 2
    minutes = arguments.minutes or (float("inf") if arguments.studies else 1.0)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / "simulation.json"
    counts = read_counts(file, cells)
    try:
        simulate(counts, arguments.studies, time.process_time() + 60 * minutes, file)
    finally:
        write_counts(file, counts)
    table = markdown(counts, " ".join(["scripts/simulate", *sys.argv[1:]]))
    (arguments.folder / "README.md").write_text(table)
    print(table.partition("\n## ")[0])
    print(f"the table of all cells: {arguments.folder / 'README.md'}")
    return int(any(verdict.broken for verdict in verdicts(counts)))


if __name__ == "__main__":
    sys.exit(main())
