"""Seconds to list a large folder of images, first and again, beside torchvision's ImageFolder.

    python benchmarks/listing.py [--files 200000] [--rounds 3] [--at FOLDER]

Makes that many tiny files in folders of a thousand, lists them in turn with torchvision, with data=imagefolder (names
alone), and with the digest of all contents, which names the data of a run: of files that are read for the first time,
and of known ones. Wall and processor seconds, medians.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from torchvision.datasets import ImageFolder

from bagoftricks.data import find_dataset
from bagoftricks.settings import dataset_settings

IN_FOLDER = 1000


def make(folder: Path, files: int) -> None:
    """Make files of a few bytes, a hundredth of them for validation."""
    for split, count in (("train", files), ("val", max(files // 100, files // IN_FOLDER))):
        classes = max(2, files // IN_FOLDER)
        for number in range(classes):
            (inside := folder / split / f"class{number:05}").mkdir(parents=True)
            for image in range(max(1, count // classes)):
                (inside / f"{image:06}.jpg").write_bytes(f"{split} {number} {image}".encode())


def timed(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at", default=None, help="folder in which the files are made for the time of the measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.at) as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        root = Path(folder, "images")
        make(root, given.files)
        time.sleep(3)  # what has just been written is not remembered
        settings = dataset_settings("imagefolder", root=str(root))
        first = timed(lambda: find_dataset(settings))
        ways: dict[str, Callable[[], object]] = {
            "torchvision": lambda: [ImageFolder(str(root / split)) for split in ("train", "val")],
            "names": settings.find,
            "again": lambda: find_dataset(settings),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                spent[name].append(timed(way))
    print(f"{given.files:,} files, n = {given.rounds}\n\n| | s, median | processor s |\n|---|---|---|")
    print(f"| read for the first time (n = 1) | {first[0]:.2f} | {first[1]:.2f} |")
    for name, took in spent.items():
        print(f"| {name} | {median(wall for wall, _ in took):.2f} | {median(cpu for _, cpu in took):.2f} |")


if __name__ == "__main__":
    main()
