"""Every benchmark after another, each in a process of its own; what is done at this revision is not done again.

    make bench [PHOTOGRAPHS=FOLDER] [CIFAR=FOLDER] [OUT=FOLDER]
    python benchmarks/every.py --out FOLDER [--photographs FOLDER] [--cifar FOLDER] [--only NAME ...] [--limit 1200]
    python benchmarks/every.py --out FOLDER --dry          # each in miniature, on images that are made up

PHOTOGRAPHS has a folder of JPEGs per class; CIFAR has train/<class>/*.jpg and test/<class>/*.jpg of 32 pixels.
FOLDER/NAME.md and NAME.json have what a benchmark printed and measured, FOLDER/README.md all of them, and a line for
each that failed, or that lacks something here. Stopped and started again, it goes on.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from on_gpu.ledger import make_dry_data
from shared import RESULT, ROOT, arguments, revision

LAPTOP = "preset=cifar_laptop data=imagefolder data.root={cifar} runtime.device=cpu"


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder with its arguments; {photographs}, {cifar} and {airbench} are given."""

    name: str
    full: str
    dry: str
    script: str = ""  # if several share one
    needs: str = ""  # program or package without which it cannot be


BENCHMARKS = (
    Benchmark("startup", "--rounds 7", "--rounds 1 epochs=1"),
    Benchmark("commands", "--rounds 5", "--rounds 1 --runs 5"),
    Benchmark("listing", "", "--files 20 --rounds 1"),
    Benchmark("step_overhead", "--steps 200", "--steps 4 --cases digits_baseline"),
    Benchmark("host_step", "", "--steps 40"),
    Benchmark("stacked", "", "--seeds 2 --batch 4 --pixels 16 --rounds 2"),
    Benchmark("streaming", "{photographs}", "{photographs} --size 32 --batch 4 --rounds 1 --workers 0"),
    Benchmark("decoding", "{photographs}", "{photographs} --sides 0 --images 2"),
    Benchmark("archives", "{cifar}", "{cifar} --count 4 --rounds 1"),
    Benchmark("cache", "{cifar} --rounds 3", "{cifar} --rounds 1"),
    Benchmark("augment", "--threads 1", "--images 64 --batch 32 --rounds 1"),
    Benchmark("policies", "", "--images 16 --batch 8 --rounds 1"),
    Benchmark("backbones", "--batch 4", "--only resnet_d --batch 2 --pixels 32 --repeats 1"),
    Benchmark("throughput", "", "--scale laptop --rows 2 --batch 2 --rounds 1"),
    Benchmark("corruptions", "--images {photographs}", "--size 32 --batch 2 --peer-images 1 --rounds 1"),
    Benchmark("corruptions_small", "--images {photographs} --batch 64 --size 32", "", script="corruptions"),
    Benchmark("checkpoints", "", "--blocks 1 --every 1"),
    Benchmark("log_overhead", "--loggers tensorboard", "--steps 6 --cases digits"),
    Benchmark("data_parallel", "", "--steps 1 --cases digits"),
    Benchmark("sweep_overhead", "", "--runs 2 --workers 1"),
    Benchmark("ray_overhead", "", "--runs 3 --epochs 1", needs="ray"),
    Benchmark("slurm_overhead", "", "", needs="sbatch"),
    Benchmark("training", "{cifar} --override preset=fast ~tricks.progressive_size", "{cifar} --images 128 --rounds 1"),
    Benchmark("airbench_cpu", "{airbench} {cifar}", ""),
    Benchmark("airbench_cpu_fp32", "{airbench} {cifar} ~tricks.mixed_precision", "", script="airbench_cpu"),
    Benchmark("slots", f"{LAPTOP} data.limit=5000 epochs=1", "--slots 1 --runs 2 --rounds 1 epochs=1 data.limit=64"),
    Benchmark("threads", "--cifar {cifar}", "--rounds 1 --busy 0 --recipes default --epochs 1"),
    Benchmark("fast", "{cifar} --seeds 0,1,2", "{cifar} --seeds 0 --target 0.1 epochs=2 batch_size=64"),
    Benchmark("fast_small", "{cifar} preset=fast_small --target 0.7", "", script="fast"),
    Benchmark("fast_85", "{cifar} preset=fast_85 --target 0.85", "", script="fast"),
    Benchmark("fast_90", "{cifar} preset=fast_90 --target 0.9 --seeds 0", "", script="fast"),
    Benchmark("fast_fp32", "{cifar} ~tricks.mixed_precision", "", script="fast"),
    Benchmark(
        "fast_85_fp32", "{cifar} preset=fast_85 ~tricks.mixed_precision --target 0.85 --seeds 0", "", script="fast"
    ),
)


def program(one: Benchmark) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name(f"{one.script or one.name}.py"))]


def carry_out(one: Benchmark, words: list[str], out: Path, limit: int) -> str:
    """Run a benchmark and keep what it printed; return how it ended."""
    surroundings = {**os.environ, RESULT: str(out / f"{one.name}.json"), "PYTHONPATH": str(ROOT)}
    if not one.name.startswith(
        ("slots", "threads", "fast", "training", "airbench_cpu", "throughput")
    ):  # whose figures are of all cores
        surroundings["OMP_NUM_THREADS"] = "1"
    child = subprocess.Popen(
        [*program(one), *words], env=surroundings, cwd=out, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        printed, errors = child.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)  # with what it started
        child.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"stopped after {limit} s"
        raise
    if child.returncode:
        return f"failed: {(errors.strip().splitlines() or ['it said nothing'])[-1]}"
    (out / f"{one.name}.md").write_text(printed, encoding="utf-8")
    return "done"


def report(states: dict[str, dict[str, str]], out: Path) -> None:
    """Write what is known of all benchmarks, and keep it for the next call."""
    text = ["# Benchmarks", ""]
    for name, state in states.items():
        text += [f"## {name}: {state['state']}", "", f"`{state['command']}`", ""]
        if state["state"] == "done":
            text += [(out / f"{name}.md").read_text(encoding="utf-8").strip(), ""]
    (out / "README.md").write_text("\n".join(text), encoding="utf-8")
    (out / "states.json").write_text(json.dumps(states, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = arguments(__doc__, limit=1200)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photographs", default=os.environ.get("PHOTOGRAPHS", ""))
    parser.add_argument("--cifar", default=os.environ.get("CIFAR", ""))
    parser.add_argument("--airbench", default=os.environ.get("AIRBENCH", ""), help="its file, airbench94_muon.py")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in BENCHMARKS])
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    made = make_dry_data(out / "made-up") if given.dry else None
    folders = {"photographs": str(made / "imagenet-sample") if made else given.photographs,
               "cifar": str(made / "cifar10") if made else given.cifar, "airbench": given.airbench}  # fmt: skip
    path, now = out / "states.json", revision()
    states = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for one in BENCHMARKS:
        asked = one.dry if given.dry else one.full
        lacking = [name for name, folder in folders.items() if f"{{{name}}}" in asked and not folder]
        if one.needs and not shutil.which(one.needs) and not find_spec(one.needs):
            lacking.append(one.needs)
        if (given.only and one.name not in given.only) or (given.dry and not asked):
            continue
        words = asked.format(**{name: Path(folder).resolve() for name, folder in folders.items()}).split()
        state = {"command": f"python benchmarks/{one.script or one.name}.py {asked}".strip(), "revision": now}
        before = states.get(one.name, {})
        if before.get("state") == "done" and before.items() >= state.items() and (out / f"{one.name}.md").exists():
            print(f"{one.name}: done before", flush=True)
            continue
        began = time.perf_counter()
        if lacking:
            state["state"] = f"not here: {', '.join(lacking)}"
        else:
            state["state"] = carry_out(one, words, out, given.limit)
        states[one.name] = state
        print(f"{one.name}: {state['state']} ({time.perf_counter() - began:.0f} s)", flush=True)
        report(states, out)
    return int(any(state["state"].startswith(("failed", "stopped")) for state in states.values()))


if __name__ == "__main__":
    sys.exit(main())
