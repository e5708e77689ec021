"""Tests over the single images of two arms, from the files that their runs have left next to their records."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bagoftricks.errors import UserError
from bagoftricks.statistics.images import image_error, mcnemar
from bagoftricks.statistics.paired import NOT_TESTABLE, Comparison
from bagoftricks.store.correctness import Bits, read_correct
from bagoftricks.store.files import note_once
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store

ByArm = Mapping[str, Mapping[int, Record]]  # label -> seed -> record
USUAL_FLOOR = (0.03, 0.07)  # points, measured at USUAL_IMAGES of CIFAR-10: of differences between trained networks
USUAL_IMAGES = 10_000


@dataclass(frozen=True)
class ImageFloor:
    """Standard error in points that the test images leave in a study's differences or effects: least and most."""

    images: int
    low: float
    high: float
    measured: bool  # on these runs; otherwise as on CIFAR-10, scaled by the root of the number of images

    def __str__(self) -> str:
        least, most = f"{self.low:.2g}", f"{self.high:.2g}"
        size = most if least == most else f"{least} to {most}" if self.low > 0 else f"up to {most}"
        how = "" if self.measured else ", as measured on CIFAR-10"
        return f"the {self.images:,} test images alone leave a standard error of {size} points{how}"


def image_floor(pairs: "Iterable[PairedImages]", images: int) -> ImageFloor:
    """Return the noise of the test images, which no number of seeds removes, in pairs of several seeds.

    An error of 0 means that the few seeds of a pair hide the images' part; if they do in all pairs, the usual one is
    told.
    """
    errors = [image_error(pair.arm, pair.other) for pair in pairs if len(pair.arm) > 1]
    if any(errors):
        return ImageFloor(images, min(errors), max(errors), measured=True)
    scale = math.sqrt(USUAL_IMAGES / images)
    return ImageFloor(images, USUAL_FLOOR[0] * scale, USUAL_FLOOR[1] * scale, measured=False)


def with_image_tests(made: Mapping[str, Comparison], store: Store, records: ByArm) -> dict[str, Comparison]:
    """Return the comparisons; where the seeds tie, with the p of a test over the images, corrected for their number.

    It judges the trained networks on these images, not what other seeds would give, so it is no verdict.
    """
    tied = [found for found in made.values() if found.verdict.startswith(NOT_TESTABLE)]
    tested = dict(made)
    for found in tied:
        pair = paired_correctness(store, records[found.label], records[found.against])
        if pair is not None and len(pair.seeds) == found.n:
            p = min(1.0, len(tied) * mcnemar(pair.arm, pair.other))
            over = f"{found.verdict}; over the {pair.arm.shape[1]:,} images p {p:.3f}"
            tested[found.label] = replace(found, verdict=over, p_images=p)
    return tested


def factor_images(
    store: Store, records: ByArm, on: Mapping[str, Collection[str]], levels: Sequence[str]
) -> "Iterator[PairedImages]":
    """Yield the images that runs with a level, and runs without it, got right. ``on``: the levels of each arm."""
    found = {label: [correct_images(store, r) for r in of.values()] for label, of in records.items()}
    right = {label: [bits for bits in of if bits is not None] for label, of in found.items()}
    sizes = {len(bits) for of in right.values() for bits in of}
    for level in levels if len(sizes) == 1 else ():
        with_it = [bits for label, of in right.items() if level in on[label] for bits in of]
        without = [bits for label, of in right.items() if level not in on[label] for bits in of]
        if len(with_it) == len(without) > 0:
            yield PairedImages((), np.stack(with_it), np.stack(without))


@dataclass(frozen=True)
class PairedImages:
    """Images that two arms got right, (seeds, images) each, of the weight set that a study reports."""

    seeds: tuple[int, ...]
    arm: Bits
    other: Bits


def paired_correctness(store: Store, arm: Mapping[int, Record], other: Mapping[int, Record]) -> PairedImages | None:
    """Return the images that two arms got right in the seeds of both; None if no seed has both.

    ``arm`` and ``other`` are records by seed; the images of one arm alone come from naming it twice. Left out are seeds
    whose runs have left no such file or were evaluated on other images than the first one's, and, with a note on
    standard error, those whose file is damaged.
    """
    found: dict[int, tuple[Bits, Bits]] = {}
    images = None
    for seed in sorted(arm.keys() & other.keys()):
        one, two = (correct_images(store, records[seed]) for records in (arm, other))
        if one is None or two is None:
            continue
        both = _images(arm[seed], one), _images(other[seed], two)
        images = images or both[0]
        if both == (images, images):
            found[seed] = one, two
    if not found:
        return None
    first, second = (np.stack(each) for each in zip(*found.values(), strict=True))
    return PairedImages(tuple(found), first, second)


def correct_images(store: Store, record: Record) -> Bits | None:
    """Return which images the reported weight set of a run got right; None if that is not known."""
    try:
        found = read_correct(store, record)
    except UserError as error:
        note_once(f"{error}; it is left out of tests over images")
        return None
    return None if found is None else found[record.reported]


def _images(record: Record, right: Bits) -> tuple[str, tuple[str, ...], int]:
    """Return what tells the images of an evaluation apart."""
    return record.data.digest, record.data.skipped, len(right)
