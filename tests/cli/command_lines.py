"""Random command lines of all settings with values that nobody should type: each ends in status 0 or 2, in time.

``scripts/torture command_lines`` runs 2,000 of them through the real checks, up to before images are decoded.
"""

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from functools import cache
from types import FrameType

from hydra.core.global_hydra import GlobalHydra

from bagoftricks.cli import app
from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.text import setting_types
from bagoftricks.data import Dataset, find_dataset
from bagoftricks.run.check import check
from bagoftricks.run.prepare import prepare
from bagoftricks.settings import Settings
from bagoftricks.study.planner import make_plan
from bagoftricks.tricks.catalogue import cards

NUMBERS = (
    *("nan", "inf", "-inf", "-1", "0", "1", "2", "-0.0", "0.5", "1e-9", "1e-320", "1e308", "1e400", "100000000000"),
    *("1e11", str(2**63), str(-(2**70)), "9" * 5000, "0x10", "1_000", "1.5", "1e", "١٢", "7", "64", "1000", "99999"),
)
TEXTS = (
    *(
        "",
        " ",
        "null",
        "true",
        "写真",
        "{a:",
        "[1",
        "[[1]]",
        "[]",
        "[1,2]",
        "[nan,1,1]",
        "[1e11]",
        "{}",
        "${seed}",
        "a b",
    ),
    *("a b", "???", "'", '"', "\\", "=", ",", "x" * 10_000, "100000000000 epochs", "9" * 400 + " epochs", "0%", "nan%"),
)
SECONDS = 20  # of one command line
GIBIBYTES = 8


def command_lines(count: int, seed: int) -> list[list[str]]:
    """Draw command lines: a few settings, tricks and hyper-parameters each."""
    rng = random.Random(seed)
    keys = [key for key in setting_types() if key != "plugins"]
    own = ["seeds", "slots", "max_arms", "runs", "resolution", "max_tricks", "time_limit", "target", "plan", "retry"]
    lines = []
    for _ in range(count):
        line = []
        if rng.random() < 0.3:
            group = rng.choice(list(YAML_GROUPS))
            line.append(f"{group}={rng.choice(list(options(group)))}")
        bad = rng.choice([1, 1, 1, 2])  # the others are good: what is refused first hides the rest
        for trick in rng.sample(cards(), rng.choice([0, 1, 1, 2])):
            line.append(f"+{trick.family}={trick.name}")
            if trick.fields and bad and rng.random() < 0.7:
                line.append(f"tricks.{trick.name}.{rng.choice(trick.fields).name}={value(rng)}")
                bad -= 1
        line += [f"{key}={value(rng)}" for key in rng.sample(keys, bad)]
        if rng.random() < 0.2:
            line += ["design=stack", "tricks=[mixup]", f"{rng.choice(own)}={value(rng)}"]
        if rng.random() < 0.05:
            line.append(rng.choice([value(rng), f"~{rng.choice(keys)}", f"++{rng.choice(keys)}={value(rng)}"]))
        lines.append(line)
    return lines


def value(rng: random.Random) -> str:
    return rng.choice(NUMBERS if rng.random() < 0.8 else TEXTS)


@cache
def digits() -> Dataset:
    return find_dataset(Settings().data)


def status_of(line: list[str]) -> tuple[int, str]:
    """Return the exit status of one command line that stops before images are decoded, and its error."""

    def action() -> None:
        if "design=stack" in line:
            sweep = parse(line)
            make_plan([], sweep.seeds, sweep.overrides, compose_settings)
            return
        settings = compose_settings(line)
        checked = check(settings)
        if settings.data.name == "digits":
            prepare(settings, checked, digits())

    GlobalHydra.instance().clear()
    try:
        action()
    except Exception as error:
        message = app.explain(error)
        if message is None:
            return 1, traceback.format_exc()
        return (2, message) if app.is_users(error) else (1, message)
    return 0, ""


class TooLong(BaseException):
    """Command line that is not refused in time."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TooLong


def judge(line: list[str]) -> tuple[int, str, float]:
    """Return status, error and seconds; a hang has status 124, more than one line of error 1."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    began = time.monotonic()
    try:
        status, error = status_of(line)
    except TooLong:
        status, error = 124, traceback.format_exc()
    finally:
        signal.alarm(0)
    if status == 2 and "\n" in error:
        status = 1
    return status, error, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print every command line and its error")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    counts, slowest = Counter[int](), (0.0, "")
    for line in command_lines(asked.count, asked.seed):
        status, error, seconds = judge(line)
        counts[status] += 1
        slowest = max(slowest, (seconds, str(line)[:300]))
        if asked.show or status not in (0, 2):
            print(f"{status} {seconds:.1f} s {str(line)[:300]}\n  {error[-3000:]}", flush=True)
    print(f"{asked.count} command lines by exit status: {dict(counts)}")
    print(f"the slowest took {slowest[0]:.1f} s: {slowest[1]}")
    return 0 if set(counts) <= {0, 2} else 1


if __name__ == "__main__":
    sys.exit(main())
