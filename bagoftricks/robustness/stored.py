"""Stored sets of corrupted images: ImageNet-C's folders and CIFAR-10-C's arrays. Nothing in them is executed."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.digests import content_digests, memory_file
from bagoftricks.data.handover import LastImages
from bagoftricks.data.sources import FileSplit, Labels
from bagoftricks.data.stream import in_workers, worker_count
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_folder

LABELS = "labels.npy"


@dataclass(frozen=True)
class Arrays:
    """Arrays of CIFAR-10-C: one of bytes for each corruption, the severities one after the other."""

    root: Path
    labels: Labels  # of one severity

    def split(self, corruption: str, severity: int, classes: Sequence[str]) -> "ArraySplit":
        if int(self.labels.max()) >= len(classes):
            raise DataError(f"{self.root / LABELS}: has the label {self.labels.max()}, the data {len(classes)} classes")
        count = len(self.labels)
        rows = slice((severity - 1) * count, severity * count)
        return ArraySplit(read_array(self.root / f"{corruption}.npy")[rows], self.labels)


@dataclass(frozen=True)
class ArraySplit:
    """Split of one severity of one corruption, read from the disk on demand."""

    images: npt.NDArray[np.uint8]  # uint8 (N, H, W, 3), mapped into memory
    labels: Labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return torch.from_numpy(np.array(self.images[index])).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Folders:
    """Folders of ImageNet-C: ``<corruption>/<severity>/<class>/<image>``."""

    root: Path

    def split(self, corruption: str, severity: int, classes: Sequence[str]) -> FileSplit:
        """Return the files in the order of classes and names; raise DataError for an unknown class."""
        folder = self.root / corruption / str(severity)
        paths: list[str] = []
        labels: list[int] = []
        number = {name: label for label, name in enumerate(classes)}
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
            if name not in number:
                raise DataError(f"{folder / name}: the data has no class '{name}'{did_you_mean(name, classes)}")
            files = sorted(f for f in os.listdir(folder / name) if os.path.splitext(f)[1].lower() in SUFFIXES)
            paths += [str(folder / name / file) for file in files]
            labels += [number[name]] * len(files)
        if not paths:
            raise DataError(f"{folder} holds no images in folders of classes")
        return FileSplit(np.array(paths), np.array(labels, np.int64))


StoredSplit = ArraySplit | FileSplit


@dataclass(frozen=True)
class StoredSet:
    """Stored set that has all requested corruptions."""

    source: Arrays | Folders
    digest: str  # of names and contents

    def split(self, corruption: str, severity: int, classes: Sequence[str]) -> StoredSplit:
        return self.source.split(corruption, severity, classes)

    def notes(self, classes: Sequence[str]) -> list[str]:
        """Return a note on classes that are not matched by name, as those of folders are."""
        if isinstance(self.source, Folders):
            return []
        order = [f"{number} {name}" for number, name in enumerate(classes)]
        shown = ", ".join([*order[:3], *(["..."] if len(order) > 3 else [])])
        return [f"{self.source.root / LABELS} does not name its classes: they are taken to be {shown}"]


@cache
def find_stored(root: str, corruptions: tuple[str, ...], severities: tuple[int, ...]) -> StoredSet:
    """Return the stored set below ``root``; raise DataError that names a missing or malformed file."""
    folder = local_folder("corruptions.stored", root)
    if (folder / LABELS).is_file() or list(folder.glob("*.npy")):
        return _arrays(folder, corruptions, len(severities))
    digest = blake2b(digest_size=8)
    for corruption in corruptions:
        if not (folder / corruption).is_dir():
            known = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
            meant = did_you_mean(corruption, known)
            raise DataError(f"corruptions.stored={root}: has no folder '{corruption}', of {len(corruptions)}{meant}")
        for severity in severities:
            if not (folder / corruption / str(severity)).is_dir():
                raise DataError(f"corruptions.stored={root}: {corruption} has no severity '{severity}'")
        files = [file for severity in severities for file in _images(folder / corruption / str(severity))]
        digest.update(_names_and_contents(folder, files))
    return StoredSet(Folders(folder), digest.hexdigest())


def read_array(path: Path) -> npt.NDArray[Any]:
    """Map an array into memory; pickled objects are refused, never loaded."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{path} is not an array of numbers ({first}): download it again") from error


def centred(image: UInt8[Tensor, "3 H W"], size: int, where: str) -> UInt8[Tensor, "3 S S"]:
    """Return the centre of a stored image, never resized: a resize would be another corruption."""
    if image.shape[1:] == (size, size):
        return image
    if min(image.shape[1:]) < size:
        height, width = image.shape[1:]
        raise DataError(
            f"{where}: has {height} x {width} pixels, and the network is evaluated on {size}: type image_size={height}"
        )
    from torchvision.transforms.v2 import functional as tv  # takes as long to import as torch

    return tv.center_crop(image, [size, size])  # type: ignore[no-any-return]


def stored_image(split: StoredSplit, index: int, size: int) -> UInt8[Tensor, "3 S S"]:
    where = printable(split.paths[index]) if isinstance(split, FileSplit) else f"image {index} of a stored array"
    return centred(split.image(index), size, where)


def _arrays(folder: Path, corruptions: tuple[str, ...], severities: int) -> StoredSet:
    for name in (*(f"{corruption}.npy" for corruption in corruptions), LABELS):
        if not (folder / name).is_file():
            raise DataError(
                f"corruptions.stored={folder}: has no {name}, of {len(corruptions)} corruptions and {LABELS}"
            )
    labels = read_array(folder / LABELS)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        raise DataError(f"{folder / LABELS}: must be one whole number per image, not {labels.dtype} {labels.shape}")
    count, rest = divmod(len(labels), severities)
    parts = np.asarray(labels[: count * severities], np.int64).reshape(severities, count)
    if rest or (parts != parts[0]).any() or parts.min() < 0:
        raise DataError(f"{folder / LABELS}: must hold the same labels {severities} times, once for each severity")
    digest = blake2b(parts.tobytes(), digest_size=8)
    for corruption in corruptions:
        path = folder / f"{corruption}.npy"
        shape, dtype = (array := read_array(path)).shape, array.dtype
        if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or 0 in shape:
            raise DataError(f"{path}: must be bytes (images, height, width, 3), not {dtype} {shape}")
        if shape[0] != len(labels):
            raise DataError(f"{path}: has {shape[0]:,} images, {LABELS} {len(labels):,} labels")
        digest.update(f"{corruption}\0{shape}\0".encode() + _names_and_contents(folder, [str(path)]))
    return StoredSet(Arrays(folder, parts[0]), digest.hexdigest())


def _images(folder: Path) -> list[str]:
    found = [os.path.join(at, file) for at, _, files in os.walk(folder) for file in files]
    return sorted(file for file in found if os.path.splitext(file)[1].lower() in SUFFIXES)


def _names_and_contents(root: Path, files: Sequence[str]) -> bytes:
    contents = content_digests(files, memory_file(root), partial(print, file=sys.stderr))
    names = [os.fsencode(os.path.relpath(file, root)) for file in files]
    return b"".join(name + b"\0" + digest for name, digest in zip(names, contents, strict=True))


@dataclass(frozen=True)
class _Stored:
    """Map from rows to stored images, for worker processes."""

    split: StoredSplit
    size: int
    last: LastImages | None = None
    shared: bool = True

    def __getitems__(self, rows: Sequence[int]) -> UInt8[Tensor, "B 3 S S"]:
        return torch.stack([self.image(row) for row in rows])

    def image(self, row: int) -> UInt8[Tensor, "3 S S"]:
        if self.last is not None:
            self.last.note(row)
        return stored_image(self.split, row, self.size)


def stored_batches(
    split: StoredSplit, rows: Labels, size: int, batch_size: int, workers: int
) -> Iterator[UInt8[Tensor, "B 3 S S"]]:
    """Yield the images of these rows in their order, on the host; decode files in worker processes."""
    wanted = [rows[at : at + batch_size].tolist() for at in range(0, len(rows), batch_size)]
    workers = worker_count(workers) if wanted and isinstance(split, FileSplit) else 0
    yield from in_workers(_Stored(split, size), wanted, workers, batch_size * size**2, first=wanted and wanted[0][0])
