"""Seconds until a folder of small images lies in memory: decoded, and from the cache that an earlier run left.

    python benchmarks/cache.py FOLDER [--size 32] [--rounds 5]

FOLDER as for data=imagefolder. Each round does both, in turn; the cache lies in a temporary folder. Medians.
"""

import tempfile
import time
from pathlib import Path

import torch
from shared import Report, arguments, in_turn, ratios, spread

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
    parser = arguments(__doc__, size=32, rounds=5)
    parser.add_argument("folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        cache.cache_folder = lambda: Path(place)
        ways = {how: lambda _, how=how: load(given.folder, given.size, how) for how in ("none", "auto")}
        found = in_turn(ways, given.rounds)
        kept = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file()) / 2**20
    report = Report(f"n = {given.rounds} rounds; the cache takes {kept:.0f} MiB")
    columns = {how: [spread(part) for part in zip(*each, strict=True)] for how, each in found.items()}
    report.table(
        ["data.cache", "listing, s", "into memory, s"],
        ([how, *(c.text() for c in both)] for how, both in columns.items()),
    )
    report.ratio(
        "small images into memory", "without the cache", ratios(*([took for _, took in found[how]] for how in found))
    )


if __name__ == "__main__":
    main()
