"""Data sets and their splits.

A split either has all its images in memory or reads them from files; the loaders treat both alike. Each data set has a
file of its own that finds its images and labels, and a digest of their contents.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.containers import Spans
from bagoftricks.data.decode import decode
from bagoftricks.data.decode_part import Decoded, Wanted, decode_part, decode_scaled, whole
from bagoftricks.data.digests import NO_CONTENTS, Place, content_digests, memory_file
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.listing import Listing, first_names
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from bagoftricks.settings import MAX_PIXELS, DataSettings

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MemorySplit:
    """Images of one size, all in memory; in channels_last, batches of them need no turning round."""

    images: UInt8[Tensor, "N 3 H W"]
    labels: Labels
    placed: dict[tuple[torch.device, torch.memory_format], Tensor] = field(
        default_factory=dict, compare=False, repr=False
    )  # the last copy on a device

    def on(self, device: torch.device, memory_format: torch.memory_format) -> UInt8[Tensor, "N 3 H W"]:
        """Return the images on a device in a format, where they stay for the next run of the process."""
        if (device, memory_format) not in self.placed:
            self.placed.clear()
            self.placed[device, memory_format] = self.images.to(device).contiguous(memory_format=memory_format)
        return self.placed[device, memory_format]

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return self.images[index].contiguous()

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return the whole image."""
        return whole(self.image(index))

    def file(self, index: int) -> ImageFile | None:
        """Return the file from which an image is decoded, None without one."""
        return None

    def subset(self, rows: Labels) -> "MemorySplit":
        return MemorySplit(self.images[torch.from_numpy(rows)], self.labels[rows])


@dataclass(frozen=True)
class FileSplit:
    """Images in files, decoded when they are asked for; find_dataset sets ``max_pixels``.

    With ``spans``, they lie in containers, and ``paths`` are names such as photos.zip/cat/1.jpg.
    """

    paths: npt.NDArray[Any]  # of str: forked workers share an array, but copy a list bit by bit
    labels: Labels
    max_pixels: int = MAX_PIXELS
    spans: Spans | None = None

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return decode(self.file(index))

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return what is wanted of an image, or more of it."""
        part = wanted.upper or wanted.scaled_to
        return decode_part(self.file(index), wanted) if part else whole(self.image(index))

    def file(self, index: int) -> ImageFile:
        return ImageFile(
            str(self.paths[index]), self.max_pixels, span=None if self.spans is None else self.spans[index]
        )

    def places(self) -> list[Place]:
        """Return the place of each image's bytes."""
        paths: list[str] = self.paths.tolist()
        return [*paths] if self.spans is None else [self.spans[row] or path for row, path in enumerate(paths)]

    def subset(self, rows: Labels) -> "FileSplit":
        spans = None if self.spans is None else self.spans.subset(rows)
        return replace(self, paths=self.paths[rows], labels=self.labels[rows], spans=spans)


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

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return what is wanted of an image, or more of it."""
        return self.split.part(index, wanted)

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

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return the box that is wanted of an image where it is decoded at a reduced scale, else the whole image."""
        square = decode_scaled(self.file(index), wanted) if wanted.scaled_to else None
        return whole(self.image(index)) if square is None else Decoded(square, 0)

    def file(self, index: int) -> ImageFile:
        return self.files.file(index)

    def subset(self, rows: Labels) -> "Split":
        return self.files.subset(rows)


Split = MemorySplit | FileSplit | KeptSplit | CachedSplit


@dataclass(frozen=True)
class Dataset:
    """The two splits of a data set.

    ``digest`` names all that can change a result: pixels, labels, their order, the classes' names and the boundary
    between the splits. ``find_dataset`` makes it; what a data set sets itself becomes a part of it.
    ``listings`` has the facts of the folders of "train" and "val", nothing for images that come from no folders, and
    ``warnings`` a line for each finding that a user should know.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    digest: str = ""
    listings: Mapping[str, Listing] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def classes_without(self, split: Split) -> tuple[str, ...]:
        """Return the classes that have no image in a split of this data set."""
        counts = np.bincount(split.labels, minlength=len(self.classes))
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if not count)

    def notes(self) -> list[str]:
        """Return lines about what was left out, and the warnings."""
        lines = [str(listing) for listing in self.listings.values()]
        return [*filter(None, lines), *(f"warning: {warning}" for warning in self.warnings)]

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
    found: Dataset = settings.find()
    train, val = (_limited_to(split, settings.max_pixels) for split in (found.train, found.val))
    found = replace(found, train=train, val=val)
    if settings.holdout:
        found = hold_out(found, settings.holdout)
    if settings.limit is not None:
        found = limited(found, settings.limit)
    with despite_errors(found):
        return identified(with_warnings(found))


@contextmanager
def despite_errors(found: Dataset) -> Iterator[None]:
    """Give a DataError in the block what there is of the data set all the same, for bot-data to look at."""
    try:
        yield
    except DataError as error:
        error.found = error.found or found
        raise


def _limited_to(split: Split, max_pixels: int) -> Split:
    return replace(split, max_pixels=max_pixels) if isinstance(split, FileSplit) else split


def limited(data: Dataset, count: int) -> Dataset:
    """Keep at most ``count`` images of each split, of each class its share; the same ones for every seed."""

    def some(split: Split, name: str) -> Split:
        rows = stratified(split.labels, Key(0).fold("limit", name))[:count]
        return split.subset(np.sort(rows))

    return replace(data, train=some(data.train, "train"), val=some(data.val, "val"))


def hold_out(data: Dataset, share: float) -> Dataset:
    """Validate on a part of the training images instead; the part is the same for every seed.

    Each class keeps its share: where it has two images or more, at least one on either side; else it is trained on.
    """
    labels = data.train.labels
    count, held = len(labels), round(share * len(labels))
    if not 0 < held < count:
        raise DataError(f"data.holdout={share:g}: leaves nothing on one side of {count} training images")
    rows = stratified(labels, Key(0).fold("holdout"))
    of_class, warnings = np.bincount(labels), data.warnings
    _, last = np.unique(labels[rows][::-1], return_index=True)
    kept = np.zeros(count, bool)
    kept[count - 1 - last] = True  # of each class, the last image stays
    movable = rows[~kept]
    needed = min(max(held, int((of_class > 1).sum())), len(movable))
    if needed != held:
        warnings += (f"data.holdout={share:g}: {needed} images are held out instead of {held}, for the small classes",)
    val = np.sort(movable[:needed])
    train = np.setdiff1d(np.arange(count), val)
    listings = {name: listing for name, listing in data.listings.items() if name == "train"}
    train_split, val_split = data.train.subset(train), data.train.subset(val)
    return replace(data, train=train_split, val=val_split, listings=listings, warnings=warnings)


def stratified(labels: Labels, key: Key) -> Labels:
    """Return all rows in a random order whose every beginning has about the classes' shares of the whole.

    One image of each class comes first, of the largest class before the others.
    """
    rows = key.numpy().permutation(len(labels))
    rows = rows[np.argsort(labels[rows], kind="stable")]  # class by class
    counts = np.bincount(labels)
    of_class = counts[labels[rows]]
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[labels[rows]]  # of an image in its class
    return rows[np.lexsort(((place + 0.5) / of_class, place > 0))]


def with_warnings(data: Dataset) -> Dataset:
    """Return the data set with a warning for each class without images. Raises DataError if nothing can be learnt."""
    if len(data.train.labels) == 0 or len(data.val.labels) == 0:
        why = f" ({'; '.join(data.warnings)})" if data.warnings else ""
        raise DataError(
            f"data={data.name}: has no {'validation' if len(data.train.labels) else 'training'} images{why}"
        )
    if len(data.classes) < 2:
        raise DataError(f"data={data.name}: has one class only: there is nothing to tell apart")
    labels = np.concatenate([data.train.labels, data.val.labels])
    if labels.min() < 0 or labels.max() >= len(data.classes):
        raise DataError(f"data={data.name}: labels {labels.min()} to {labels.max()}, of {len(data.classes)} classes")
    warnings = list(data.warnings)
    for split, of in ((data.train, "training"), (data.val, "validation")):
        if names := data.classes_without(split):
            warnings.append(f"{len(names)} of {len(data.classes)} classes have no {of} images: {first_names(names)}")
    if len(data.val.labels) == 1:
        warnings.append("there is one validation image: the accuracy can only be 0 or 100 %")
    return replace(data, warnings=tuple(warnings))


def identified(data: Dataset) -> Dataset:
    """Return the data set with the digest of its contents."""
    failures, contents = list[str](), list[list[bytes]]()
    memory = memory_file(data.listings["train"].root if data.listings else data.name)
    digest = blake2b(json.dumps([data.digest, data.classes]).encode(), digest_size=16)
    for split in (data.train, data.val):
        digest.update(f"{len(split.labels)}\n".encode())
        digest.update(np.ascontiguousarray(split.labels, np.int64).data)
        if isinstance(split, FileSplit):
            contents.append(content_digests(split.places(), memory, failures.append))
            digest.update(b"".join(contents[-1]))
        elif isinstance(split, MemorySplit):
            digest.update(memory_digest(split).encode())
    warnings = dict.fromkeys(failures + (_shared(*contents) if len(contents) > 1 else []))
    return replace(data, digest=digest.hexdigest(), warnings=(*data.warnings, *warnings))


def _shared(train: Sequence[bytes], val: Sequence[bytes]) -> list[str]:
    """Return a warning for files in both splits, whether copies or links."""
    known = set(train)
    known.discard(NO_CONTENTS)
    count = sum(contents in known for contents in val)
    return [f"{count:,} of {len(val):,} validation images are training images too (bot-data lists them)"] * bool(count)


def memory_digest(*splits: MemorySplit) -> str:
    """Return a digest of pixels and labels."""
    digest = blake2b(digest_size=16)
    for split in splits:
        digest.update(f"{tuple(split.images.shape)}\n".encode())
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.data)
    return digest.hexdigest()
