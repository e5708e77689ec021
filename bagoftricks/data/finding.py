"""A data set as its settings ask for it: its classes, its held-out and limited images, its warnings and its digest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from bagoftricks.data.digests import NO_CONTENTS, content_digests, memory_file
from bagoftricks.data.listing import first_names
from bagoftricks.data.sources import (
    Dataset,
    FileSplit,
    Labels,
    MemorySplit,
    Split,
    despite_errors,
    joined_splits,
    memory_digest,
    relabelled,
)
from bagoftricks.errors import DataError
from bagoftricks.plugins import typed_text
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings


def find_dataset(settings: DataSettings) -> Dataset:
    """Return the data set of these settings, its files not yet decoded. Raises DataError if it is not there."""
    found: Dataset = settings.find()
    train, val = (_limited_to(split, settings.max_pixels) for split in (found.train, found.val))
    found = replace(found, train=train, val=val)
    if settings.only_classes:
        found = chosen_classes(found, settings.only_classes)
    if settings.zero_shot is not None:
        found = unseen_classes(found, settings.zero_shot)
    if settings.holdout:
        found = hold_out(found, settings.holdout)
    of_train, of_val = (least_limit(settings.limit, own) for own in (settings.train_limit, settings.val_limit))
    if of_train is not None or of_val is not None:
        found = limited(found, of_train, of_val)
    with despite_errors(found):
        return identified(with_warnings(found))


def _limited_to(split: Split, max_pixels: int) -> Split:
    return replace(split, max_pixels=max_pixels) if isinstance(split, FileSplit) else split


def least_limit(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two limits, None without any."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def limited(data: Dataset, of_train: int | None, of_val: int | None) -> Dataset:
    """Keep at most this many images of each split, of each class its share; the same ones for every seed."""

    def some(split: Split, name: str, count: int | None) -> Split:
        if count is None:
            return split
        rows = stratified(split.labels, Key(0).fold("limit", name))[:count]
        return split.subset(np.sort(rows))

    return replace(data, train=some(data.train, "train", of_train), val=some(data.val, "val", of_val))


def chosen_classes(data: Dataset, numbers: Sequence[int]) -> Dataset:
    """Return the images of these classes alone, which are counted afresh in this order."""
    if data.targets != "classes" or max(numbers) >= len(data.classes):
        classes = f"the data has {len(data.classes)} classes, from 0"
        what = classes if data.targets == "classes" else "the images have no class"
        raise DataError(f"data.only_classes={typed_text(list(numbers))}: {what}")
    place = np.full(len(data.classes), -1)
    place[list(numbers)] = np.arange(len(numbers))

    def some(split: Split) -> Split:
        kept = split.subset(np.flatnonzero(place[split.labels] >= 0))
        return relabelled(kept, place[kept.labels])

    names = tuple(data.classes[number] for number in numbers)
    return replace(data, classes=names, train=some(data.train), val=some(data.val))


def unseen_classes(data: Dataset, count: int) -> Dataset:
    """Train on all images of the first ``count`` classes, and validate on all images of the others."""
    if data.targets not in ("classes", "unseen") or not 0 < count < len(data.classes) - 1:
        raise DataError(f"data.zero_shot={count}: must leave two of the data's {len(data.classes)} classes or more")
    every = joined_splits(data.train, data.val)
    train, val = (every.subset(np.flatnonzero(which)) for which in (every.labels < count, every.labels >= count))
    return replace(data, train=train, val=val, listings={}, targets="unseen")


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
    if len(data.classes) < 2 and data.targets != "boxes":
        raise DataError(f"data={data.name}: has one class only: there is nothing to tell apart")
    labels = np.concatenate([data.train.labels, data.val.labels])
    if labels.min() < 0 or labels.max() >= len(data.classes):
        raise DataError(f"data={data.name}: labels {labels.min()} to {labels.max()}, of {len(data.classes)} classes")
    warnings = list(data.warnings)
    if data.targets == "unseen" and (shared := set(data.train.labels.tolist()) & set(data.val.labels.tolist())):
        raise DataError(f"data={data.name}: {len(shared)} classes of validation are trained on: they are not unseen")
    for split, of in ((data.train, "training"), (data.val, "validation")) if data.targets == "classes" else ():
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
            found = content_digests(split.places(), memory, failures.append)
            contents.append(found[: len(split.labels)])  # without masks
            digest.update(b"".join(found))
            digest.update(b"" if split.boxes is None else np.ascontiguousarray(split.boxes).data)
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
