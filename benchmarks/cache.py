"""Seconds until a folder of small images lies in memory: decoded, and from the cache that an earlier run left.

    python benchmarks/cache.py FOLDER [--size 32] [--rounds 5]

FOLDER as for data=imagefolder. Each round does both, in turn; the cache lies in a temporary folder. Medians.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from bagoftricks.data import cache, eval_loader, find_dataset
from bagoftricks.data.augment import Finish
from bagoftricks.data.loaders import EvalBatches
from bagoftricks.data.preparation import Reading
from bagoftricks.settings import dataset_settings


def load(folder: str, size: int, how: str) -> tuple[float, float]:
    """Seconds to list the files, and to have the images of both splits in memory."""
    data = dataset_settings(name="imagefolder", root=folder, cache=how)
    start = time.perf_counter()
    found = find_dataset(data)
    listed = time.perf_counter()
    finish = Finish(data, len(found.classes), torch.device("cpu"), channels_last=True)
    for split in (found.train, found.val):
        eval_loader(split, data, finish, EvalBatches(size=size, batch_size=256), Reading(workers=-1))
    return listed - start, time.perf_counter() - listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        cache.cache_folder = lambda: Path(place)
        load(given.folder, given.size, "auto")
        spent = {how: [] for how in ("none", "auto")}
        for _ in range(given.rounds):
            for how, took in spent.items():
                took.append(load(given.folder, given.size, how))
        kept = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file()) / 2**20
    print(f"torch {torch.__version__}; {os.cpu_count()} cores; n = {given.rounds}; the cache takes {kept:.0f} MiB\n")
    print("| data.cache | listing, s | into memory, s |\n|---|---|---|")
    for how, took in spent.items():
        listing, loading = zip(*took, strict=True)
        print(f"| {how} | {median(listing):.2f} | {median(loading):.2f} |")


if __name__ == "__main__":
    main()
