"""What the steps of the GPU benchmark have measured: a line of JSON for each piece, and a report of all of them."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from shared import machine

Row = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A measurement with its module; it is started with at least so many seconds left."""

    letter: str
    title: str
    module: str
    least: float
    weight: float  # share of the time, relative to the others'


class Ledger:
    """Folder of results: ``a.jsonl`` has the pieces of step a, ``calls.jsonl`` how each call of a step ended."""

    def __init__(self, folder: Path, steps: Iterable[Step]) -> None:
        self.folder, self.steps = folder, list(steps)

    def log(self, step: Step) -> Path:
        """Return the file of what a step prints."""
        return self.folder / f"{step.letter}.log"

    def rows(self, name: str) -> list[Row]:
        """Return the lines that were written whole."""
        path, rows = self.folder / f"{name}.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the process ended while it wrote this line
                continue
        return rows

    def add(self, name: str, *rows: Row) -> None:
        """Append lines, on the disk at once, and make the report again."""
        path = self.folder / f"{name}.jsonl"
        torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + "".join(json.dumps(row) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
        self.write_report()

    def note(self, step: Step, state: str, seconds: float) -> None:
        """Keep how a call of a step ended; of one that failed, the last lines that it printed."""
        printed = self.log(step).read_text(encoding="utf-8", errors="replace").splitlines()
        row = {"step": step.letter, "state": state, "seconds": round(seconds, 1), "date": time.strftime("%F %T")}
        self.add("calls", row | ({"printed": printed[-12:]} if state.startswith("failed") else {}))

    def calls(self, step: Step) -> list[Row]:
        return [row for row in self.rows("calls") if row["step"] == step.letter]

    def state(self, step: Step) -> str:
        """Return how the last call of a step ended."""
        return self.calls(step)[-1]["state"] if self.calls(step) else "not started"

    def failures(self, step: Step) -> int:
        return sum(row["state"].startswith("failed") for row in self.calls(step))

    def write_report(self) -> None:
        """Write all that is known as Markdown and as JSON, each file whole."""
        machine, text = self.rows("machine")[-1:], ["# GPU benchmark", ""]
        text += [", ".join(f"{key} {value}" for key, value in row.items()) for row in machine]
        everything: dict[str, Any] = {"machine": machine[0] if machine else {}}
        for step in self.steps:
            rows, calls = self.rows(step.letter), self.calls(step)
            everything[step.letter] = {"title": step.title, "state": self.state(step), "rows": rows, "calls": calls}
            spent = sum(row["seconds"] for row in calls)
            text += ["", f"## {step.letter} {step.title}: {self.state(step)}, {spent:.0f} s", "", *shown(rows)]
            last = calls[-1].get("printed", []) if calls else []
            text += ["", "```", *last, "```"] if last else []
        write_whole(self.folder / "report.md", "\n".join(text) + "\n")
        write_whole(self.folder / "report.json", json.dumps(everything, indent=1) + "\n")


class Work:
    """A step at work: its data, its time, and what it has measured already."""

    MORE = 75  # exit status of a step that has more to do

    def __init__(self, ledger: Ledger, step: Step, data: Path, *, dry: bool, seconds: float) -> None:
        self.ledger, self.step, self.data, self.dry = ledger, step, data, dry
        self.until, self.out = time.monotonic() + seconds, ledger.folder
        self.device = "cpu" if dry else "cuda"

    def carry_out(self, measure: "Callable[[Work], bool | None]") -> int:
        """Measure; return the exit status."""
        if not self.ledger.rows("machine"):
            self.ledger.add("machine", ({"dry": "in miniature, on the CPU"} if self.dry else {}) | machine(self.device))
        return self.MORE if measure(self) is False else 0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    @property
    def rows(self) -> list[Row]:
        return self.ledger.rows(self.step.letter)

    def done(self, **which: Any) -> int:
        """Return the number of pieces with these values."""
        return sum(which.items() <= row.items() for row in self.rows)

    def add(self, *rows: Row, **row: Any) -> None:
        """Keep measured pieces, all or none of them."""
        self.ledger.add(self.step.letter, *rows, *([row] if row else []))
        print(*rows, row, flush=True)


def shown(rows: list[Row]) -> list[str]:
    """Return pieces as tables of Markdown, one for each set of columns; of many alike pieces, the numbers' medians."""
    tables: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tables.setdefault(tuple(key for key in row if key not in ("n", "text")), []).append(row)
    lines: list[str] = []
    for columns, alike in tables.items():
        if "test" in columns:
            lines += tests(alike)
        elif columns:
            lines += ["| " + " | ".join([*columns, "n"]) + " |", "|---" * (len(columns) + 1) + "|"]
            lines += ["| " + " | ".join(cells) + " |" for cells in medians(alike, columns)] + [""]
        lines += [line for row in alike for line in row.get("text", "").splitlines()]
    return lines


def medians(rows: list[Row], columns: tuple[str, ...]) -> list[list[str]]:
    """Return a line of cells for each set of words, with the medians of the numbers and how many there are."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(value for key, value in row.items() if isinstance(value, str)), []).append(row)
    lines = []
    for alike in groups.values():
        cells = [
            str(alike[0][key]) if isinstance(alike[0][key], str) else number(median(row[key] for row in alike))
            for key in columns
        ]
        lines.append([*cells, str(sum(row.get("n", 1) for row in alike))])
    return lines


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def tests(rows: list[Row]) -> list[str]:
    """Return how many tests passed, and each that did not with its reason; the last time of each counts."""
    last: Mapping[str, Row] = {row["test"]: row for row in rows}
    counts: dict[str, int] = {}
    for row in last.values():
        counts[row["outcome"]] = counts.get(row["outcome"], 0) + 1
    lines = [", ".join(f"{count} {outcome}" for outcome, count in counts.items())]
    return lines + [f"- {row['outcome']}: {name}: {row['why']}" for name, row in last.items() if row["why"]]


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    beside = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def make_dry_data(folder: Path) -> Path:
    """Make tiny data sets of coloured noise; return their folder."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for name, classes, count, side in (("cifar10/train", 10, 16, 32), ("cifar10/test", 10, 8, 32),
                                       ("imagenet-sample", 2, 6, 80)):  # fmt: skip
        for label in range(classes):
            place = folder / name / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            for i in range(count if not any(place.iterdir()) else 0):
                pixels = draw.integers(0, 100, (side, side, 3)) + 12 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.jpg")
    return folder
