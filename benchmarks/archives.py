"""Seconds to list, to read and to decode the images of a data set as a folder and as archives.

    python benchmarks/archives.py cifar10-jpeg [cifar10-jpeg.zip cifar10-jpeg.tar] [--rounds 5]

A folder alone is packed in both first. All hold the same folders of classes, as for data=imagefolder; their digests are
compared. Listing is that of a second run: headers and contents are remembered. Each round does all of them, in turn, in
one process.
"""

import shutil
import tempfile
import time
from pathlib import Path

import torch
from shared import Report, arguments, in_turn, spread

from bagoftricks.data import find_dataset
from bagoftricks.settings import dataset_settings


def spend(root: str, count: int) -> tuple[float, float, float, str]:
    """Seconds to list the images, to read ``count`` training files and to decode them; and the digest."""
    settings = dataset_settings(name="imagefolder", root=root)
    start = time.perf_counter()
    found = find_dataset(settings)
    listed = time.perf_counter()
    rows = torch.randperm(len(found.train.labels), generator=torch.Generator().manual_seed(0))[:count].tolist()
    begun = time.perf_counter()
    for row in rows:
        found.train.file(row).read()
    read = time.perf_counter()
    for row in rows:
        found.train.image(row)
    done = time.perf_counter()
    return listed - start, (read - begun) / len(rows), (done - read) / len(rows), found.digest


def archives(folder: Path, place: Path) -> list[str]:
    """Pack a folder in archives of two kinds."""
    return [shutil.make_archive(str(place / folder.name), kind, folder) for kind in ("zip", "tar")]


def main() -> None:
    parser = arguments(__doc__, count=20_000, rounds=5)
    parser.add_argument("roots", nargs="+")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        roots = [*given.roots, *(archives(Path(given.roots[0]), Path(place)) if len(given.roots) == 1 else [])]
        found = in_turn({root: lambda _, root=root: spend(root, given.count) for root in roots}, given.rounds)
    assert len({digest for each in found.values() for *_, digest in each}) == 1, "these are several data sets"
    report = Report(f"{given.count:,} images in a random order, n = {given.rounds} rounds, all files in the page cache")
    headings = ["images in", "listing, s", "reading, µs an image", "reading and decoding, µs an image"]
    spent = {root: [spread(part).text(d, scale=s) for part, d, s in zip(list(zip(*each, strict=True))[:3], (2, 1, 1),
             (1, 1e6, 1e6), strict=True)] for root, each in found.items()}  # fmt: skip
    report.table(headings, ([Path(root).name, *cells] for root, cells in spent.items()))


if __name__ == "__main__":
    main()
