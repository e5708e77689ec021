"""Seconds of training and accuracy of our fast recipe beside those of airbench94, on one GPU and the same images.

    git clone https://github.com/KellerJordan/cifar10-airbench AIRBENCH
    git -C AIRBENCH checkout f1c599c4af24aca803e3e65a6a7e52a502e09d0e
    python benchmarks/time_to_94.py AIRBENCH DATA [--runs 10] [OVERRIDE ...]

DATA has train/<class>/*.jpg and test/<class>/*.jpg of CIFAR-10; airbench is given the same images, decoded. Both are
compiled, on data that lies on the device, and timed from the first step to the last; evaluation and compilation stand
apart. The processes alternate: half of airbench's runs, all of ours, the other half. Overrides are added to
preset=fast_gpu runtime.compile=true. Needs CUDA; not yet tried on it.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.augment import Augment
from bagoftricks.data.memory import into_memory
from bagoftricks.data.sources import find_dataset

SCRIPT, REVISION = "airbench94_muon.py", "f1c599c4af24aca803e3e65a6a7e52a502e09d0e"
Measured = list[tuple[float, float]]  # seconds of training, top-1 in percent


def prepare_airbench(script: Path, data: str, folder: Path) -> None:
    """Its script for fewer runs, and the images where it looks for them."""
    settings = compose_settings(["data=imagefolder", f"data.root={data}", "image_size=32"]).data
    found = find_dataset(settings)
    (folder / "cifar10").mkdir()
    for name, split in (("train", found.train), ("test", found.val)):
        loaded, _, _ = into_memory(split, Augment.plain(settings, 32), settings, 2)
        pixels = loaded.images.permute(0, 2, 3, 1).contiguous()
        whole = {"images": pixels, "labels": torch.from_numpy(loaded.labels), "classes": list(found.classes)}
        torch.save(whole, folder / "cifar10" / f"{name}.pt")
    source = script.read_text(encoding="utf-8")
    (folder / SCRIPT).write_text(source.replace("range(200)", "range(int(sys.argv[1]))"), encoding="utf-8")


def airbench(folder: Path, runs: int) -> Measured:
    """Its own timing (device events, evaluation excluded) and its accuracy with test-time augmentation."""
    done = subprocess.run([sys.executable, SCRIPT, str(runs)], cwd=folder, capture_output=True, text=True, check=True)
    return rows_of(done.stdout)[-runs:]  # the first run warms up


def rows_of(printed: str) -> Measured:
    """The closing rows of airbench's runs: run, epoch, train_acc, val_acc, tta_val_acc, time_seconds."""
    cells = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in printed.splitlines()]
    return [(float(row[-1]), 100 * float(row[-2])) for row in cells if len(row) >= 5 and "eval" in row[:2]]


def ours(data: str, overrides: list[str], runs: int, store: str) -> Measured:
    """Records of runs in one process, so that they share what was compiled."""
    command = [sys.executable, "-m", "bagoftricks.cli.train", "-m", f"seed=range({runs})", "preset=fast_gpu",
               "runtime.compile=true", "runtime.eval_every=1000", "data=imagefolder", f"data.root={data}",
               "image_size=32",
               "data.mean=[125.31,122.95,113.87]", "data.std=[62.99,62.09,66.70]", f"store={store}", "format=json",
               "rerun=true", *overrides]  # fmt: skip
    records = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [(record["cost"]["train_seconds"], record["metrics"]["top1"]) for record in records]


def row(name: str, measured: Measured) -> str:
    seconds, top1 = zip(*measured, strict=True)
    half = [2.26 * stdev(values) / math.sqrt(len(values)) for values in (seconds, top1)]  # t at 95 %, n = 10
    reached = sum(value >= 94 for value in top1)
    return (
        f"| {name} | {len(measured)} | {mean(seconds):.2f} ± {half[0]:.2f} | {mean(top1):.2f} ± {half[1]:.2f} "
        f"| {reached} of {len(measured)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("airbench", type=Path)
    parser.add_argument("data")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("airbench94 needs CUDA")
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), str(Path(given.data).resolve())
        prepare_airbench(given.airbench / SCRIPT, data, folder)
        first = airbench(folder, given.runs // 2)
        mine = ours(data, given.overrides, given.runs, str(folder / "runs"))
        second = airbench(folder, given.runs - given.runs // 2)
    print(
        f"torch {torch.__version__}, {torch.cuda.get_device_name()}; airbench at {REVISION[:10]}\n\n"
        "| recipe | runs | training, s | top-1 % | at 94 % |\n|---|---|---|---|---|"
    )
    print(row(f"airbench, {SCRIPT}", first + second))
    print(row("preset=fast_gpu", mine))


if __name__ == "__main__":
    main()
