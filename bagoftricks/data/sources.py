"""Data sets and their splits.

A split either has all its images in memory or reads them from files; the loaders treat both alike. Each data set has a
file of its own that finds its images and labels, and a digest of their contents.

Tasks on pixels and on objects need more than a label. A class for each pixel is a fourth channel of the image, in which
a pixel of class c is NO_CLASS - c: the zeros around an image are then NO_CLASS, a pixel without a class. Boxes are rows
(left, top, right, bottom, class) of a split's ``boxes``, in shares of the longer side; rows of class -1 fill them up.
An object that need not be found has DIFFICULT added to its class; it is in no training split.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from bagoftricks.data.containers import Spans
from bagoftricks.data.decode import decode, decode_unturned, read_mask
from bagoftricks.data.decode_part import Decoded, Wanted, decode_part, decode_scaled, whole
from bagoftricks.data.digests import Place
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.listing import Listing
from bagoftricks.errors import DataError
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.settings import MAX_PIXELS

Labels = npt.NDArray[np.int64]
Boxes = Float32[np.ndarray, "N M 5"]
DIFFICULT = 100_000  # more than any data set has classes, and exact as a float32


@dataclass(frozen=True)
class MemorySplit:
    """Images of one size, all in memory; in channels_last, batches of them need no turning round."""

    images: UInt8[Tensor, "N C H W"]
    labels: Labels
    boxes: Boxes | None = None
    placed: dict[tuple[torch.device, torch.memory_format], Tensor] = field(
        default_factory=dict, compare=False, repr=False
    )  # the last copy on a device

    def on(self, device: torch.device, memory_format: torch.memory_format) -> UInt8[Tensor, "N C H W"]:
        """Return the images on a device in a format, where they stay for the next run of the process."""
        if (device, memory_format) not in self.placed:
            self.placed.clear()
            self.placed[device, memory_format] = self.images.to(device).contiguous(memory_format=memory_format)
        return self.placed[device, memory_format]

    def image(self, index: int) -> UInt8[Tensor, "C H W"]:
        return self.images[index].contiguous()

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return the whole image."""
        return whole(self.image(index))

    def file(self, index: int) -> ImageFile | None:
        """Return the file from which an image is decoded, None without one."""
        return None

    @property
    def targets(self) -> npt.NDArray[Any]:
        """Return what is to be predicted of each image, where that is no part of it."""
        return self.labels if self.boxes is None else self.boxes

    def subset(self, rows: Labels) -> "MemorySplit":
        boxes = None if self.boxes is None else self.boxes[rows]
        return MemorySplit(self.images[torch.from_numpy(rows)], self.labels[rows], boxes)


@dataclass(frozen=True)
class FileSplit:
    """Images in files, decoded when they are asked for; find_dataset sets ``max_pixels``.

    With ``spans``, they lie in containers, and ``paths`` are names such as photos.zip/cat/1.jpg.
    """

    paths: npt.NDArray[Any]  # of str: forked workers share an array, but copy a list bit by bit
    labels: Labels
    max_pixels: int = MAX_PIXELS
    spans: Spans | None = None
    boxes: Boxes | None = None
    masks: npt.NDArray[Any] | None = None  # paths of images whose bytes are classes
    first_class: int = 0  # byte of class 0 in a mask; those below are NO_CLASS

    def image(self, index: int) -> UInt8[Tensor, "C H W"]:
        if self.masks is None:
            return decode(self.file(index))
        image = decode_unturned(self.file(index))
        classes = read_mask(str(self.masks[index]), (image.shape[1], image.shape[2]))
        return with_mask(image, classes, self.first_class)

    @property
    def targets(self) -> npt.NDArray[Any]:
        """Return what is to be predicted of each image, where that is no part of it."""
        return self.labels if self.boxes is None else self.boxes

    def part(self, index: int, wanted: Wanted) -> Decoded:
        """Return what is wanted of an image, or more of it."""
        part = (wanted.upper or wanted.scaled_to) and self.masks is None
        return decode_part(self.file(index), wanted) if part else whole(self.image(index))

    def file(self, index: int) -> ImageFile:
        return ImageFile(
            str(self.paths[index]), self.max_pixels, span=None if self.spans is None else self.spans[index]
        )

    def places(self) -> list[Place]:
        """Return the place of each image's bytes."""
        paths: list[str] = [*self.paths.tolist(), *([] if self.masks is None else self.masks.tolist())]
        return [*paths] if self.spans is None else [self.spans[row] or path for row, path in enumerate(paths)]

    def subset(self, rows: Labels) -> "FileSplit":
        spans = None if self.spans is None else self.spans.subset(rows)
        boxes, masks = (None if each is None else each[rows] for each in (self.boxes, self.masks))
        return replace(self, paths=self.paths[rows], labels=self.labels[rows], spans=spans, boxes=boxes, masks=masks)


@dataclass
class KeptSplit:
    """A split that remembers what was last made of all its images, and how, for several runs in one process."""

    split: "Split"
    how: object = None
    made: tuple[MemorySplit, list[str], Labels] | None = None

    @property
    def labels(self) -> Labels:
        return self.split.labels

    def image(self, index: int) -> UInt8[Tensor, "C H W"]:
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

    def get(self, image: int) -> UInt8[Tensor, "C H W"] | None: ...

    def put(self, image: int, pixels: UInt8[Tensor, "C H W"]) -> None: ...


@dataclass(frozen=True)
class CachedSplit:
    """Files whose decoded images are kept as far as there is room."""

    files: FileSplit
    arena: DecodedImages

    @property
    def labels(self) -> Labels:
        return self.files.labels

    def image(self, index: int) -> UInt8[Tensor, "C H W"]:
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


def source_of(split: Split) -> MemorySplit | FileSplit:
    """Return a split without what remembers its images."""
    whole = split.split if isinstance(split, KeptSplit) else split
    found = whole.files if isinstance(whole, CachedSplit) else whole
    assert isinstance(found, MemorySplit | FileSplit)
    return found


def with_mask(image: UInt8[Tensor, "C H W"], classes: UInt8[Tensor, "H W"], first_class: int) -> Tensor:
    """Return an image with a class for each pixel as its fourth channel."""
    of_pixels = classes - first_class  # bytes below the first class wrap round to NO_CLASS
    return torch.cat([image, NO_CLASS - of_pixels[None]])


def joined_splits(first: Split, second: Split) -> MemorySplit | FileSplit:
    """Return the images of two splits of one kind, without their boxes and masks."""
    a, b = source_of(first), source_of(second)
    labels = np.concatenate([a.labels, b.labels])
    if isinstance(a, MemorySplit) and isinstance(b, MemorySplit):
        return MemorySplit(torch.cat([a.images, b.images]), labels)
    if isinstance(a, FileSplit) and isinstance(b, FileSplit) and a.spans is None and b.spans is None:
        return replace(a, paths=np.concatenate([a.paths, b.paths]), labels=labels)
    raise DataError("data.zero_shot: the images of this data set lie in archives: extract them")


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
    targets: str = "classes"  # classes, unseen (those of validation are others), masks or boxes

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
    return replace(source_of(split), labels=labels)


@contextmanager
def despite_errors(found: Dataset) -> Iterator[None]:
    """Give a DataError in the block what there is of the data set all the same, for bot-data to look at."""
    try:
        yield
    except DataError as error:
        error.found = error.found or found
        raise


def memory_digest(*splits: MemorySplit) -> str:
    """Return a digest of pixels and labels."""
    digest = blake2b(digest_size=16)
    for split in splits:
        digest.update(f"{tuple(split.images.shape)}\n".encode())
        digest.update(split.images.contiguous().numpy().data)
        digest.update(np.ascontiguousarray(split.targets).data)
    return digest.hexdigest()
