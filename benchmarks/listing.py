"""Seconds to list a large folder of images, and to start again on it, beside torchvision's ImageFolder.

    python benchmarks/listing.py [--files 200000] [--rounds 3] [--at FOLDER]

Makes that many files of a few bytes in folders of a thousand; in turn, torchvision lists them, data=imagefolder lists
them, and data=imagefolder lists them and names them by the contents of all, which it has read before.
"""

import os
import tempfile
import time
from pathlib import Path

from shared import Report, arguments, in_turn, ratios, seconds, spread
from torchvision.datasets import ImageFolder

from bagoftricks.data import find_dataset
from bagoftricks.settings import dataset_settings

IN_FOLDER = 1000
THEIRS, NAMES, AGAIN = "torchvision's ImageFolder", "names alone", "known contents"


def make(root: Path, files: int) -> None:
    """Make the files, and a hundredth as many for validation."""
    classes = max(2, files // IN_FOLDER)
    for split, count in (("train", files // classes), ("val", max(1, files // classes // 100))):
        for number in range(classes):
            (folder := root / split / f"class{number:05}").mkdir(parents=True)
            for image in range(count):
                (folder / f"{image:06}.jpg").write_bytes(f"{split} {number} {image}".encode())


def main() -> None:
    parser = arguments(__doc__, rounds=3, files=200_000)
    parser.add_argument("--at", default=None, help="folder in which the files are for the time of the measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.at) as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        root = Path(folder, "images")
        make(root, given.files)
        time.sleep(3)  # what has just been written is not remembered
        settings = dataset_settings("imagefolder", root=str(root))
        first = seconds(lambda: find_dataset(settings))
        ways = {
            THEIRS: lambda: [ImageFolder(str(root / split)) for split in ("train", "val")],
            NAMES: settings.find,
            AGAIN: lambda: find_dataset(settings),
        }
        spent = in_turn({name: lambda _, way=way: seconds(way) for name, way in ways.items()}, given.rounds)
    report = Report(f"{given.files:,} files, n = {given.rounds} rounds; read for the first time in {first:.2f} s")
    rows = [[name, spread(each).text(), ratios(each, spent[THEIRS]).text()] for name, each in spent.items()]
    report.table(["listing", "s [quartiles]", "times torchvision"], rows)
    report.ratio("listing a folder", THEIRS, ratios(spent[THEIRS], spent[NAMES]))


if __name__ == "__main__":
    main()
