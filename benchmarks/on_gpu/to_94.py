"""Step c: seconds of training and accuracy of preset=fast_gpu beside those of airbench94, on the same images.

airbench94_muon.py is read from .offline/peers, at revision f1c599c4af24aca803e3e65a6a7e52a502e09d0e of
https://github.com/KellerJordan/cifar10-airbench, and given the same images, decoded. Both are compiled, on data that
lies on the device, and timed from the first step to the last; evaluation and compilation stand apart. The processes
alternate: half of airbench's runs, all of ours, the other half. Ours is run twice in each of five ways, which differ in
speed alone, and ten times in the fastest of them. The target is the accuracy of airbench on this copy of the images.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from on_gpu.breakdown import breakdown
from on_gpu.ledger import Work

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data import find_dataset
from bagoftricks.data.augment import Augment
from bagoftricks.data.memory import into_memory, keep_decoded
from bagoftricks.run.execute import execute
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings

SCRIPT, BLOB = "airbench94_muon.py", "e056a094d4675a57b64b92c01880d760a0155b6d"  # git's name of its contents
PEERS = Path(__file__).resolve().parents[2] / ".offline" / "peers"
CIFAR = ("data=imagefolder", "image_size=32", "data.mean=[125.31,122.95,113.87]", "data.std=[62.99,62.09,66.70]")
WAYS = {  # of ours, each with the settings of its runtime
    "graph": ["runtime.cuda_graph=true"],
    "compiled": ["runtime.compile=true"],
    "compiled, graph": ["runtime.compile=true", "runtime.cuda_graph=true"],
    "compiled, reduce-overhead": ["runtime.compile=true", "runtime.compile_mode=reduce-overhead"],
    "eager": [],
}
DRY = ("model.widths=[24,8,8,8]", "batch_size=40", "epochs=2", "runtime.device=cpu", "runtime.compile=false")
THEIRS, OURS = "airbench94_muon", "preset=fast_gpu, {}"


def settings_of(work: Work, *overrides: str) -> Settings:
    """Return the settings of a run of ours on the images of this benchmark."""
    place = [f"data.root={work.data / 'cifar10'}", "runtime.eval_every=1000"]
    return compose_settings([*CIFAR, *place, *overrides, *(DRY if work.dry else ())])


def measure(work: Work) -> bool:
    """Take turns; return True when all is measured."""
    runs, first = (2, 1) if work.dry else (10, 2)
    airbench(work, runs // 2)
    for way in WAYS:
        ours(work, way, first)
    best = min(WAYS, key=lambda way: seconds_of(work, OURS.format(way)))
    ours(work, best, runs)
    airbench(work, runs)
    if not any("of a step" in row for row in work.rows):
        settings = settings_of(work, "preset=fast_gpu", *WAYS[best])
        for row in breakdown(settings, steps=2 if work.dry else 40):
            work.add(**row)
    ratio = seconds_of(work, OURS.format(best)) / seconds_of(work, THEIRS)
    work.add(text=f"Seconds of training, ours ({best}) over airbench's: {ratio:.3f} (medians)")
    return True


def seconds_of(work: Work, recipe: str) -> float:
    """Return the median of a recipe's seconds of training so far."""
    return median([row["training, s"] for row in work.rows if row.get("recipe") == recipe] or [float("nan")])


def ours(work: Work, way: str, runs: int) -> None:
    """Train the missing runs in this process, which keeps the images and what was compiled."""
    name = OURS.format(way)
    data = None
    for seed in range(work.done(recipe=name), runs):
        with tempfile.TemporaryDirectory() as store:
            settings = settings_of(work, "preset=fast_gpu", f"seed={seed}", f"store={store}", *WAYS[way])
            data = data or keep_decoded(find_dataset(settings.data))
            record = execute(settings, SilentReporter(), "benchmarks/gpu.py", data)
        work.add(**{
            "recipe": name, "training, s": record.cost.train_seconds, "top-1 %": record.metrics[record.reported].top1,
            "wall, s": record.cost.wall_seconds, "compilation, s": record.cost.compile_seconds or 0.0,
        })  # fmt: skip


def airbench(work: Work, runs: int) -> None:
    """Go on with airbench's own code until there are so many runs; its first run of each process warms up."""
    missing, script = runs - work.done(recipe=THEIRS), PEERS / SCRIPT
    if missing <= 0 or (not work.dry and not as_named(work, script)):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if work.dry:
            (folder / SCRIPT).write_text(STUB, encoding="utf-8")
        else:
            prepare_airbench(script, work, folder)
        command = [sys.executable, SCRIPT, str(missing)]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for number, (seconds, top1) in enumerate(finished_runs(process.stdout)):
                if number:
                    work.add(**{"recipe": THEIRS, "training, s": seconds, "top-1 %": top1})


def as_named(work: Work, script: Path) -> bool:
    """Return True if the peer's file is there, as it is at the named revision; else say so in the report."""
    found = script.read_bytes() if script.exists() else b""
    if hashlib.sha1(b"blob %d\0" % len(found) + found).hexdigest() == BLOB:
        return True
    if not work.done(text=f"No {SCRIPT} of the named revision in .offline/peers: airbench is left out."):
        work.add(text=f"No {SCRIPT} of the named revision in .offline/peers: airbench is left out.")
    return False


def prepare_airbench(script: Path, work: Work, folder: Path) -> None:
    """Write its script for a given number of runs, and the images where it looks for them."""
    settings = settings_of(work).data
    found = find_dataset(settings)
    (folder / "cifar10").mkdir()
    for name, split in (("train", found.train), ("test", found.val)):
        loaded, _, _ = into_memory(split, Augment.plain(settings, 32), settings, 8)
        pixels = loaded.images.permute(0, 2, 3, 1).contiguous()
        whole = {"images": pixels, "labels": torch.from_numpy(loaded.labels), "classes": list(found.classes)}
        torch.save(whole, folder / "cifar10" / f"{name}.pt")
    source = script.read_text(encoding="utf-8")
    assert source.count("range(200)") == 1
    (folder / SCRIPT).write_text(source.replace("range(200)", "range(int(sys.argv[1]))"), encoding="utf-8")


def finished_runs(printed: Iterator[str]) -> Iterator[tuple[float, float]]:
    """Yield seconds of training and top-1 in percent of each run, from the rows that airbench prints.

    Its clock goes on through the evaluation with test-time augmentation, so the seconds are those before it.
    The columns: run, epoch, train_acc, val_acc, tta_val_acc, time_seconds.
    """
    seconds = 0.0
    for line in printed:
        cells = [cell.strip() for cell in line.strip("| \n").split("|")]
        if "eval" in cells[:2]:
            yield seconds, 100 * float(cells[-2])
        elif cells[0].isdigit() or (len(cells) > 1 and cells[1].isdigit()):
            seconds = float(cells[-1])


STUB = """import sys
for run in ["warmup", *range(int(sys.argv[1]))]:
    print(f"|  {run}  |      0  |     0.5000  |   0.6000  |               |        1.2500  |")
    print("|         |      1  |     0.7000  |   0.8000  |               |        2.5000  |", flush=True)
    print("|         |   eval  |     0.7000  |   0.8000  |       0.9401  |        2.6000  |", flush=True)
"""  # what airbench prints, for a machine without CUDA
