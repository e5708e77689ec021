"""What the benchmarks share: ways measured in turn, medians with quartiles, and results as Markdown and JSON.

Each prints its tables, headed by the machine, the versions and the date. A variable that benchmarks/every.py sets names
the JSON file with the same, from which benchmarks/pictures.py draws.
"""

import argparse
import json
import os
import platform
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple, TypeVar

Measured = TypeVar("Measured")
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "timm", "pillow", "simplejpeg", "numpy", "ray")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that change a figure most
RESULT = "BENCHMARK_RESULT"


def arguments(text: str | None, **numbers: int) -> argparse.ArgumentParser:
    """Return a parser that shows a module's text, with options that take a number."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return parser


def in_turn(ways: Mapping[str, Callable[[int], Measured]], rounds: int, *, warm: int = 1) -> dict[str, list[Measured]]:
    """Return what each way gave in each round; the order turns, and rounds that warm up are left out.

    A slow moment of the machine so hits all ways alike: what counts is the median of ratios within a round.
    """
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for number in range(rounds + warm):
        for name, way in list(ways.items())[:: 1 if number % 2 else -1]:
            value = way(number)
            if number >= warm:
                found[name].append(value)
    return found


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    action()
    return clock() - start


class Spread(NamedTuple):
    """A median with its quartiles."""

    low: float
    median: float
    high: float
    n: int

    def text(self, digits: int = 2, *, scale: float = 1.0) -> str:
        low, middle, high = (f"{scale * value:,.{digits}f}" for value in self[:3])
        return f"{middle} [{low}, {high}]" if self.n > 1 else middle


def spread(values: Iterable[float]) -> Spread:
    found = list(values)
    if len(found) == 1:
        return Spread(*found * 3, 1)
    low, _, high = quantiles(found, n=4)
    return Spread(low, median(found), high, len(found))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the ratio of two ways, round by round."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return the processor or card, the versions, the revision, the date and the load."""
    facts: dict[str, Any] = {"processor": processor(), "cores": len(os.sched_getaffinity(0))}
    if device.startswith("cuda"):
        import torch

        facts |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    facts["python"] = platform.python_version()
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts | {"revision": revision(), "date": time.strftime("%F"), "load": round(os.getloadavg()[0], 1)}


def processor() -> str:
    """Return the processor's name, and which instructions it has of those that matter."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        facts = dict(line.partition(":")[::2] for line in lines[: lines.index("")])
        known = {key.strip(): value.strip() for key, value in facts.items()}
        return ", ".join([known["model name"], *(name for name in INSTRUCTIONS if name in known["flags"].split())])
    except (OSError, KeyError, ValueError):
        return platform.processor() or platform.machine()


def revision() -> str:
    """Return the commit that is measured, with a digest of what was changed since."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "diff", "HEAD", "--", "bagoftricks", "benchmarks"], cwd=ROOT, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + (f"+{zlib.crc32(changed.stdout):08x}" if changed.stdout else "")


class Report:
    """Tables of one benchmark, printed as they are made, and its ratios to what it is compared with."""

    def __init__(self, about: str = "", device: str = "cpu") -> None:
        self.facts: dict[str, Any] = {
            "about": about,
            "machine": machine(device),
            "tables": [],
            "ratios": [],
            "bars": [],
        }
        print(", ".join(f"{key} {value}" for key, value in self.facts["machine"].items()))
        print(f"{about}\n" if about else "")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table, a row as soon as it is there."""
        made: list[list[str]] = []
        self.facts["tables"].append({"headings": list(headings), "rows": made})
        print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|", flush=True)
        for row in rows:
            made.append([str(cell) for cell in row])
            print(f"| {' | '.join(made[-1])} |", flush=True)
            self.save()
        print()

    def ratio(self, what: str, against: str, found: Spread) -> None:
        """Keep a ratio for the pictures; above 1, ours is better."""
        self.facts["ratios"].append({"what": what, "against": against, **found._asdict()})
        self.save()

    def bar(self, chart: str, unit: str, what: str, found: Spread, *, scale: float = 1.0, floor: bool = False) -> None:
        """Keep a figure of a picture; ``floor``: nothing that does the same work can take less."""
        numbers = {key: scale * value for key, value in zip(("low", "median", "high"), found, strict=False)}
        self.facts["bars"].append({"chart": chart, "unit": unit, "what": what, "floor": floor, "n": found.n, **numbers})
        self.save()

    def note(self, text: str) -> None:
        self.facts.setdefault("notes", []).append(text)
        print(text, flush=True)
        self.save()

    def save(self) -> None:
        """Write all that is known to the file that is asked for, whole."""
        if place := os.environ.get(RESULT):
            beside = Path(f"{place}.{os.getpid()}")
            beside.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
            beside.replace(place)
