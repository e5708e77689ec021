"""Seconds to list, to read and to decode the images of a data set as a folder and as archives.

    python benchmarks/archives.py cifar10-jpeg cifar10-jpeg.zip cifar10-jpeg.tar [--rounds 5]

All hold the same folders of classes, as for data=imagefolder; their digests are compared. Listing is that of a second
run: headers and contents are remembered. Each round does all of them, in turn, in one process. Medians.
"""

import argparse
import time
from statistics import median

import torch

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
    return listed - start, read - begun, time.perf_counter() - read, found.digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="+")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for root in given.roots:
        spend(root, 100)
    rounds = [[spend(root, given.count) for root in given.roots] for _ in range(given.rounds)]
    assert len({digest for each in rounds for *_, digest in each}) == 1, "these are several data sets"
    print("| images in | listing, s | reading, µs an image | reading and decoding, µs an image |\n|---|---|---|---|")
    for root, spent in zip(given.roots, zip(*rounds, strict=True), strict=True):
        listing, reading, decoding = (median(each[part] for each in spent) for part in range(3))
        print(f"| {root} | {listing:.2f} | {1e6 * reading / given.count:.1f} | {1e6 * decoding / given.count:.1f} |")


if __name__ == "__main__":
    main()
