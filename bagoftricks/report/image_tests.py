"""Tests over the single images of two arms, from the files that their runs have left next to their records."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bagoftricks.errors import UserError
from bagoftricks.store.correctness import Bits, read_correct
from bagoftricks.store.files import note_once
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store


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
