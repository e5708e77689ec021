"""Data sets and their splits.

A split either has all its images in memory or reads them from files; the loaders treat both alike. Each data set has a
file of its own that finds its images and labels, and a digest of their contents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.decode import decode
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.listing import Listing
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from bagoftricks.settings import MAX_PIXELS, DataSettings

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MemorySplit:
    """Images of one size, all in memory; in channels_last, batches of them need no turning round."""

    images: UInt8[Tensor, "N 3 H W"]
    labels: Labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return self.images[index].contiguous()

    def file(self, index: int) -> ImageFile | None:
        """Return the file from which an image is decoded, None without one."""
        return None

    def subset(self, rows: Labels) -> "MemorySplit":
        return MemorySplit(self.images[torch.from_numpy(rows)], self.labels[rows])


@dataclass(frozen=True)
class FileSplit:
    """Images in files, decoded when they are asked for; find_dataset sets ``max_pixels``."""

    paths: npt.NDArray[Any]  # of str: forked workers share an array, but copy a list bit by bit
    labels: Labels
    max_pixels: int = MAX_PIXELS

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return decode(self.file(index))

    def file(self, index: int) -> ImageFile:
        return ImageFile(str(self.paths[index]), self.max_pixels)

    def subset(self, rows: Labels) -> "FileSplit":
        return replace(self, paths=self.paths[rows], labels=self.labels[rows])


@dataclass
class KeptSplit:
    """A split that remembers what was last made of all its images, and how, for several runs in one process."""

    split: "Split"
    how: object = None
    made: tuple[MemorySplit, list[str], Labels] | None = None

    @property
    def labels(self) -> Labels:
        return self.split.labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return self.split.image(index)

    def file(self, index: int) -> ImageFile | None:
        return self.split.file(index)

    def subset(self, rows: Labels) -> "Split":
        return self.split.subset(rows)


@runtime_checkable
class DecodedImages(Protocol):
    """Room for decoded images, by their number."""

    def get(self, image: int) -> UInt8[Tensor, "3 H W"] | None: ...

    def put(self, image: int, pixels: UInt8[Tensor, "3 H W"]) -> None: ...


@dataclass(frozen=True)
class CachedSplit:
    """Files whose decoded images are kept as far as there is room."""

    files: FileSplit
    arena: DecodedImages

    @property
    def labels(self) -> Labels:
        return self.files.labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        kept = self.arena.get(index)
        if kept is None:
            kept = self.files.image(index)
            self.arena.put(index, kept)
        return kept

    def file(self, index: int) -> ImageFile:
        return self.files.file(index)

    def subset(self, rows: Labels) -> "Split":
        return self.files.subset(rows)


Split = MemorySplit | FileSplit | KeptSplit | CachedSplit


@dataclass(frozen=True)
class Dataset:
    """The two splits of a data set. ``digest`` names its content: pixels, or for folders paths and file sizes.

    ``listings`` has the facts of the folders of "train" and "val", nothing for images that come from no folders, and
    ``warnings`` a line for each finding that a user should know.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    digest: str
    listings: Mapping[str, Listing] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def classes_without(self, split: Split) -> tuple[str, ...]:
        """Return the classes that have no image in a split of this data set."""
        counts = np.bincount(split.labels, minlength=len(self.classes))
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if not count)

    def renumbered(self, names: Sequence[str], order: Sequence[int]) -> "Dataset":
        """Return the same images with the classes called ``names``: class ``i`` of these becomes ``order[i]``."""
        numbers = np.array(order, np.int64)
        train, val = (relabelled(split, numbers[split.labels]) for split in (self.train, self.val))
        return replace(self, classes=tuple(names), train=train, val=val)


def relabelled(split: Split, labels: Labels) -> Split:
    """Return the images of a split with other labels."""
    whole = split.split if isinstance(split, KeptSplit) else split.files if isinstance(split, CachedSplit) else split
    return replace(whole, labels=labels)  # type: ignore[arg-type]


def find_dataset(settings: DataSettings) -> Dataset:
    """Return the data set of these settings, its files not yet decoded. Raises DataError if it is not there."""
    found = settings.find()
    train, val = (_limited_to(split, settings.max_pixels) for split in (found.train, found.val))
    found = replace(found, train=train, val=val)
    found = hold_out(found, settings.holdout) if settings.holdout else found
    return found if settings.limit is None else limited(found, settings.limit)


def _limited_to(split: Split, max_pixels: int) -> Split:
    return replace(split, max_pixels=max_pixels) if isinstance(split, FileSplit) else split


def limited(data: Dataset, count: int) -> Dataset:
    """At most ``count`` images of each split, for a quick try; the same ones for every seed."""

    def some(split: Split, name: str) -> Split:
        rows = Key(0).fold("limit", name).numpy().permutation(len(split.labels))[:count]
        return split.subset(np.sort(rows))

    return replace(data, train=some(data.train, "train"), val=some(data.val, "val"), digest=f"{data.digest}/{count}")


def hold_out(data: Dataset, share: float) -> Dataset:
    """Validate on a part of the training images instead; the part is the same for every seed."""
    count = len(data.train.labels)
    rows = Key(0).fold("holdout").numpy().permutation(count)
    held = round(share * count)
    if not 0 < held < count:
        raise DataError(f"data.holdout={share}: leaves nothing on one side of {count} training images")
    train, val = np.sort(rows[held:]), np.sort(rows[:held])
    return Dataset(
        data.name, data.classes, data.train.subset(train), data.train.subset(val), f"{data.digest}-{share:g}"
    )


def memory_digest(*splits: MemorySplit) -> str:
    """Return a digest of pixels and labels."""
    digest = blake2b(digest_size=16)
    for split in splits:
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.data)
    return digest.hexdigest()
