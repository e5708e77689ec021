"""Every measurement that needs a GPU, in order of value, within so many minutes; a second call goes on from the first.

    python benchmarks/gpu.py --minutes 7 --out FOLDER [--data DATA] [--steps a,b]
    python benchmarks/gpu.py --dry --out FOLDER          # every step in miniature, on the CPU

DATA (default: the variable DATA) has cifar10/{train,test}/<class>/*.jpg and imagenet-sample/<class>/*.jpg; the steps
and what they need are in benchmarks/README.md. FOLDER/report.md and report.json are written after every measured piece,
so that a call that is killed has lost nothing. Each step is a process of its own with a limit of time: one that crashes
or hangs is a line of the report.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from on_gpu.ledger import Ledger, Step, Work, make_dry_data

ROOT = Path(__file__).resolve().parent.parent
STEPS = [  # in order of value
    Step("a", "Correctness", "on_gpu.correctness", least=100, weight=2),
    Step("b", "No synchronisation in a step", "on_gpu.synchronisation", least=45, weight=1),
    Step("c", "CIFAR-10 to 94 %", "on_gpu.to_94", least=120, weight=3),
    Step("d", "ResNet-50 beside timm", "on_gpu.resnet50", least=100, weight=3),
    Step("e", "Inference of table 12", "on_gpu.table12", least=25, weight=2),
    Step("f", "Page's ladder", "on_gpu.ladder", least=40, weight=3),
    Step("g", "Sixteen tricks in 192 runs", "on_gpu.factorial", least=40, weight=4),
]
GRACE = 10.0  # seconds that a step has to save what it can after its time is up


def carry_out(step: Step, limit: float, given: argparse.Namespace, ledger: Ledger) -> None:
    """Run a step in a process of its own for at most so many seconds; note how it ended."""
    words = [sys.executable, __file__, "--out", str(given.out), "--data", str(given.data), "--child", step.letter]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    surroundings.setdefault("XDG_CACHE_HOME", str(given.data / "cache"))
    began, state = time.monotonic(), "done"
    with ledger.log(step).open("a", encoding="utf-8") as log:
        child = subprocess.Popen(
            [*words, "--seconds", str(limit), *(["--dry"] if given.dry else [])],
            cwd=ROOT, env=surroundings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = child.wait(limit)
            state = "done" if status == 0 else "goes on" if status == Work.MORE else f"failed (exit status {status})"
        except subprocess.TimeoutExpired:
            state = "goes on"
        finally:
            end(child)
    for weights in given.out.rglob("*.safetensors"):  # the records are the results
        weights.unlink()
    ledger.note(step, state, time.monotonic() - began)


def end(child: "subprocess.Popen[bytes]") -> None:
    """End the process of a step and all that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, how)
            child.wait(GRACE)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def call(given: argparse.Namespace) -> None:
    """Carry out what is missing, the steps that failed before at the end, while there is time."""
    ledger, until = Ledger(given.out, STEPS), time.monotonic() + 60 * given.minutes - GRACE
    chosen = [step for step in STEPS if step.letter in given.steps.split(",")]
    waiting = sorted((step for step in chosen if ledger.state(step) != "done"), key=ledger.failures)
    while waiting:
        step = waiting.pop(0)
        left = until - time.monotonic()
        if not given.dry and left < step.least:
            print(f"{step.letter} {step.title}: left for the next call", flush=True)
            continue
        share = left * step.weight / sum(other.weight for other in [step, *waiting])
        limit = left if given.dry else min(left, max(step.least, share))
        print(f"{step.letter} {step.title}: at most {limit:.0f} s", flush=True)
        carry_out(step, limit, given, ledger)
        print(f"{step.letter} {step.title}: {ledger.state(step)}", flush=True)
    print(f"{given.out}/report.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=os.environ.get("DATA"))
    parser.add_argument("--steps", default=",".join(step.letter for step in STEPS))
    parser.add_argument("--dry", action="store_true", help="every step in miniature, on the CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.dry:
        given.data = make_dry_data(given.out / "data")
    if given.data is None:
        parser.error("--data: which folder has cifar10 and imagenet-sample?")
    given.data = Path(given.data).resolve()
    if given.child is None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        call(given)
        return 0
    step = next(step for step in STEPS if step.letter == given.child)
    work = Work(Ledger(given.out, STEPS), step, given.data, dry=given.dry, seconds=given.seconds)
    return work.carry_out(import_module(step.module).measure)


if __name__ == "__main__":
    sys.exit(main())
