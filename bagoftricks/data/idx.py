"""Grey images in idx files, as MNIST and its relatives have them: one file of images and one of labels per split.

An idx file is two zeros, the type (8: bytes), the number of dimensions, their sizes as big-endian 32-bit numbers, and
the values.
"""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import torch

from bagoftricks.data.listing import first_names
from bagoftricks.data.published import lines
from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_folder
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

MOST_VALUES = 4 * 2**30  # of a file; the largest of EMNIST has half a GiB of them
IMAGE_FILE = re.compile(r"(.*?)(train|t10k|test|val)-images[-.]idx3-ubyte(\.gz)?")  # beginning, split
VALIDATION_NAMES = ("t10k", "test", "val")

ByteArray = npt.NDArray[np.uint8]


@dataset(name="idx")
class Idx(DataSettings):
    """Grey images in idx files, as of MNIST: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., or .gz."""

    root: Optional[str] = None
    """folder of the four files, and of classes.txt, which names a class per line (without it, they are numbers)"""
    prefix: Optional[str] = None
    """beginning of the files' names, where a folder holds several sets: emnist-letters-"""

    def find(self) -> Dataset:
        if self.root is None:
            raise DataError("data.root is not set: type data.root=FOLDER, the folder of the idx files")
        root = local_folder("data.root", self.root).absolute()
        train, val = (read_split(root, begin) for begin in beginnings(root, self.prefix))
        names = root / "classes.txt"
        count = 1 + int(max(train.labels.max(initial=-1), val.labels.max(initial=-1)))
        classes = lines(names) if names.is_file() else [str(number) for number in range(count)]
        if len(set(classes)) < max(count, len(classes)):
            raise DataError(f"{printable(names)}: names {len(set(classes))} classes, and the labels are below {count}")
        return Dataset("idx", tuple(classes), train, val)


def beginnings(root: Path, prefix: str | None) -> tuple[str, str]:
    """Return what the names of the training and the validation files begin with, as train and t10k."""
    found: dict[str, set[str]] = {}
    for file in root.iterdir():
        if match := IMAGE_FILE.fullmatch(file.name):
            found.setdefault(match[1], set()).add(match[2])
    if not found:
        raise DataError(f"{printable(root)} has no train-images-idx3-ubyte or train-images-idx3-ubyte.gz")
    if prefix is None and len(found) > 1:
        choices = " or ".join(f"data.prefix={name or chr(39) * 2}" for name in sorted(found, reverse=True))
        raise DataError(f"{printable(root)} holds {len(found)} sets: choose one with {printable(choices)}")
    chosen = prefix if prefix is not None else min(found)
    if chosen not in found:
        near = did_you_mean(chosen, found)
        raise DataError(f"data.prefix={chosen}: no images file begins with it{near} ({first_names(sorted(found))})")
    val = next((name for name in VALIDATION_NAMES if name in found[chosen]), None)
    if "train" not in found[chosen] or val is None:
        lacking = "training" if val else "validation"
        raise DataError(f"{printable(root)}: has no {lacking} images next to {chosen}{min(found[chosen])}-images")
    return f"{chosen}train", f"{chosen}{val}"


def read_split(root: Path, begin: str, *, transposed: bool = False) -> MemorySplit:
    """Return the split whose files begin with ``begin``. ``transposed``: the file has columns first, as EMNIST."""
    images, labels = read_idx(root, f"{begin}-images", 3), read_idx(root, f"{begin}-labels", 1)
    if len(images) != len(labels):
        raise DataError(f"{printable(root)}: {begin} has {len(images):,} images and {len(labels):,} labels")
    grey = torch.from_numpy(images)[:, None]
    grey = grey.transpose(2, 3) if transposed else grey
    return MemorySplit(grey.expand(-1, 3, -1, -1), labels.astype(np.int64))


def read_idx(root: Path, name: str, dims: int) -> ByteArray:
    """Return the values of an idx file of bytes, unpacked if it ends in .gz. Raises DataError for anything else."""
    names = [f"{name}{dash}idx{dims}-ubyte{gz}" for dash in "-." for gz in ("", ".gz")]
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"{printable(root)} has no {names[0]} or {names[1]}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return idx_values(file, dims)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{printable(path)}: {printable(error)}") from error


def idx_values(file: Any, dims: int) -> ByteArray:
    """Return the values of an open idx file. Raises ValueError unless it has ``dims`` dimensions of bytes."""
    head = file.read(4 + 4 * dims)
    if head[:2] != b"\0\0" or len(head) < 4 + 4 * dims or head[3] != dims:
        raise ValueError(f"is no idx file of {dims} dimension{'s' * (dims > 1)}")
    if head[2] != 8:
        raise ValueError(f"has values of type 0x{head[2]:02x}; read are bytes (0x08)")
    sizes = [int(size) for size in np.frombuffer(head[4:], ">u4")]
    count = int(np.prod(sizes, dtype=object))
    if count > MOST_VALUES:
        raise ValueError(f"has {count:,} values, more than {MOST_VALUES:,}")
    data = file.read(count + 1)
    if len(data) != count:
        more = "more" if len(data) > count else f"only {len(data):,}"
        raise ValueError(f"has {' x '.join(map(str, sizes))} values by its beginning, and holds {more}")
    values: ByteArray = np.frombuffer(data, np.uint8).reshape(sizes).copy()
    return values
