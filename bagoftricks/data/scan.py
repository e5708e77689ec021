"""Look at the images of a split: sizes, formats, contents, colours, and files that cannot be read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bagoftricks.data.augment import Augment
from bagoftricks.data.decode import Rgb, decode_bytes, unusual
from bagoftricks.data.handover import LastImages
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.sources import Labels, Split
from bagoftricks.data.stream import Requests, in_workers
from bagoftricks.data.transforms import PLANES
from bagoftricks.data.workers import Sample
from bagoftricks.errors import DataError

LOOKED_AT_ONCE = 64  # images that a worker looks at before it reports


class ImageFacts(NamedTuple):
    """Facts of one readable image. The sums are of the image as the network sees it, without augmentation."""

    row: int
    height: int
    width: int
    digest: bytes  # of the decoded pixels
    sums: tuple[float, ...]  # of each channel's values
    squares: tuple[float, ...]  # of their squares
    format: str
    traits: tuple[str, ...]


@dataclass(frozen=True)
class ImageReader:
    """A map from requests to the facts of images, for worker processes; broken files are kept apart."""

    split: Split
    plain: Augment
    rows: Labels  # of the split, in the order of the requests
    last: LastImages | None = None
    shared: bool = True

    def __getitems__(self, samples: Sequence[Sample]) -> list[ImageFacts | tuple[int, str]]:
        return [self._facts(int(self.rows[sample.index])) for sample in samples]

    def _facts(self, row: int) -> ImageFacts | tuple[int, str]:
        if self.last is not None:
            self.last.note(row)
        try:
            image, kind, traits = read_image(self.split, row)
        except DataError as error:
            return row, str(error)
        height, width = image.shape[1:]
        seen = self.plain.square(image, ())[:PLANES].flatten(1).double()
        sums, squares = tuple(seen.sum(1).tolist()), tuple(seen.square().sum(1).tolist())
        return ImageFacts(row, height, width, pixel_digest(image), sums, squares, kind, traits)


@dataclass
class Scan:
    """Facts of all images of a split that were looked at."""

    pixels: int  # of each image that the network sees
    rows: list[int] = field(default_factory=list)  # of readable images
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)  # row -> reason
    sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 3)))  # and squares, of each channel

    def add(self, facts: ImageFacts | tuple[int, str]) -> None:
        """Count one image."""
        if not isinstance(facts, ImageFacts):
            self.broken[facts[0]] = facts[1]
            return
        self.rows.append(facts.row)
        self.heights.append(facts.height)
        self.widths.append(facts.width)
        self.digests.append(facts.digest)
        self.formats[facts.format] += 1
        self.traits.update(facts.traits)
        self.sums += [facts.sums, facts.squares]

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Return the mean and the deviation of each channel, in 0..255."""
        mean, square = self.sums / (max(len(self.rows), 1) * self.pixels)
        return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0)).tolist()


def scan_split(split: Split, plain: Augment, rows: Labels, workers: int) -> Iterator[Scan]:
    """Yield the facts found so far after every few images of ``rows``, all of them at the end.

    ``plain`` prepares an image without augmentation.
    """
    found, plan = Scan(plain.size**2), StepPlan(len(rows), LOOKED_AT_ONCE)
    for part in in_workers(ImageReader(split, plain, rows), Requests(plan), workers, 0):
        for facts in part:
            found.add(facts)
        yield found


def read_image(split: Split, row: int) -> tuple[Rgb, str, tuple[str, ...]]:
    """Return the pixels of an image, its format, and what is unusual about it; a file is read once."""
    file = split.file(row)
    if file is None:
        return split.image(row), "in memory", ()
    name, data = file.read()
    return decode_bytes(file, data), name, unusual(file, name, data)


def pixel_digest(image: Rgb) -> bytes:
    """Return the digest of the shape and the pixels of an image."""
    digest = blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    digest.update(image.contiguous().numpy().data)
    return digest.digest()
