"""A data set as a run would see it, and what is wrong with it. Unlike a run, it goes on after what is broken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bagoftricks.data import Dataset, Split, find_dataset
from bagoftricks.data.augment import Augment
from bagoftricks.data.scan import Scan, scan_split
from bagoftricks.data.sources import Labels
from bagoftricks.data.stream import worker_count
from bagoftricks.errors import DataError, printable
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.rng import Key
from bagoftricks.run.check import Checked, check
from bagoftricks.run.prepare import class_count
from bagoftricks.run.reporter import Reporter
from bagoftricks.run.treatment import treatment
from bagoftricks.settings import Settings

SPLIT_NAMES = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Extent:
    """Smallest, middle and largest value."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Facts of the images of one split."""

    images: int
    looked_at: int  # of them, the broken ones included
    counts: tuple[int, ...]  # images of each class
    height: Extent | None = None  # in pixels; None without a readable image
    width: Extent | None = None
    enlarged: int = 0  # images with a side below the network's pixels
    formats: Mapping[str, int]
    traits: Mapping[str, int]
    broken: tuple[str, ...] = ()
    ignored: Mapping[str, int]  # other files in its folders, by suffix


@dataclass(frozen=True)
class Twins:
    """Images whose decoded pixels are equal, by name."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """True if a validation image is a training image too."""
        return len(self.splits) > 1

    @property
    def contradicts(self) -> bool:
        """True if one image has two classes."""
        return len(self.classes) > 1


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that was found out about a data set. It is sound if nothing is ``wrong``."""

    name: str
    digest: str
    classes: tuple[str, ...]
    pixels: int  # of the training images that the network sees
    splits: Mapping[str, SplitFacts]
    twins: tuple[Twins, ...]
    mean: tuple[float, ...]  # of the training images, as data.mean= takes them
    std: tuple[float, ...]
    set_mean: tuple[float, ...]  # what is set
    set_std: tuple[float, ...]
    treatment: Mapping[str, str]  # what the settings do with the images
    wrong: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Looked:
    """A data set with the recipe that prepares its images, to inspect and to show."""

    checked: Checked
    data: Dataset
    refusal: str | None = None  # why a run would refuse the data set

    @property
    def settings(self) -> Settings:
        return self.checked.settings


def look(settings: Settings) -> Looked:
    """Return the data set of the settings, also one that a run would refuse. Raises UserError without any images."""
    checked = check(settings, train=False)
    try:
        data, refusal = find_dataset(settings.data), None
    except DataError as error:
        if not isinstance(error.found, Dataset):
            raise
        data, refusal = error.found, str(error)
    labels = np.concatenate([data.train.labels, data.val.labels])
    if refusal and (labels < 0).any() | (labels >= len(data.classes)).any():
        raise DataError(refusal)
    counts = tuple(np.bincount(data.train.labels, minlength=len(data.classes)).tolist())
    return Looked(checked.with_data(max(class_count(settings, data), 1), counts), data, refusal)


def inspect_data(looked: Looked, reporter: Reporter, limit: int | None = None) -> Inspection:
    """Return all facts of the data set. Decodes every image once, or ``limit`` of each split."""
    settings, data = looked.settings, looked.data
    sizes = {"train": settings.pixels, "val": test_pixels(settings, looked.checked.recipe)}
    rows = {name: chosen(len(split_of(data, name).labels), name, limit) for name in SPLIT_NAMES}
    if settings.runtime.progress:
        reporter.note(f"looking at {sum(map(len, rows.values())):,} images of {data.name}")
    reporter.begin(data.name, sum(map(len, rows.values())), 0)
    try:
        scans = {name: _scan(looked, name, rows[name], sizes[name], reporter) for name in SPLIT_NAMES}
    finally:
        reporter.end()
    twins = find_twins(data, scans)
    facts = {name: _split_facts(data, name, len(rows[name]), scans[name], sizes[name]) for name in SPLIT_NAMES}
    mean, std = scans["train"].mean_and_std()
    return Inspection(
        name=data.name,
        digest=data.digest,
        classes=data.classes,
        pixels=settings.pixels,
        splits=facts,
        twins=twins,
        mean=tuple(round(value, 2) for value in mean),
        std=tuple(round(value, 2) for value in std),
        set_mean=tuple(settings.data.mean),
        set_std=tuple(settings.data.std),
        treatment=treatment(looked.checked, data, len(facts["train"].broken)),
        wrong=tuple(faults(looked, facts, twins)),
        notes=tuple(remarks(looked, facts, twins)),
    )


def split_of(data: Dataset, name: str) -> Split:
    return data.train if name == "train" else data.val


def chosen(count: int, name: str, limit: int | None) -> Labels:
    """Return the rows to look at: all, or ``limit`` of them, the same ones every time."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(Key(0).fold("scan", name).numpy().permutation(count)[:limit])


def _scan(looked: Looked, name: str, rows: Labels, size: int, reporter: Reporter) -> Scan:
    recipe, settings, found = looked.checked.recipe, looked.settings, Scan(size**2)
    short_side = recipe.test_size.short_side if recipe.test_size and name == "val" else None
    plain = Augment.plain(settings.data, size, short_side, whole=looked.data.targets == "boxes")
    done = 0
    for found in scan_split(split_of(looked.data, name), plain, rows, worker_count(settings.runtime.workers)):
        while done < len(found.rows) + len(found.broken):
            reporter.step()
            done += 1
    return found


def _split_facts(data: Dataset, name: str, looked_at: int, scan: Scan, size: int) -> SplitFacts:
    split, listing = split_of(data, name), data.listings.get(name)
    enlarged = sum(min(sides) < size for sides in zip(scan.heights, scan.widths, strict=True))
    return SplitFacts(
        images=len(split.labels),
        looked_at=looked_at,
        counts=tuple(np.bincount(split.labels, minlength=len(data.classes)).tolist()),
        height=_extent(scan.heights),
        width=_extent(scan.widths),
        enlarged=enlarged,
        formats=dict(scan.formats.most_common()),
        traits=dict(scan.traits.most_common()),
        broken=tuple(scan.broken[row] for row in sorted(scan.broken)),
        ignored=dict(listing.ignored) if listing else {},
    )


def _extent(values: Sequence[int]) -> Extent | None:
    return Extent(min(values), float(np.median(values)), max(values)) if values else None


def find_twins(data: Dataset, scans: Mapping[str, Scan]) -> tuple[Twins, ...]:
    """Return the images that occur twice, within a split or in both; those that leak or contradict first."""
    places: dict[bytes, list[tuple[str, int]]] = {}
    for name, scan in scans.items():
        for row, digest in zip(scan.rows, scan.digests, strict=True):
            places.setdefault(digest, []).append((name, row))
    found = [_twins(data, at) for at in places.values() if len(at) > 1]
    return tuple(sorted(found, key=lambda twins: (not twins.contradicts, not twins.leaks)))


def _twins(data: Dataset, places: Sequence[tuple[str, int]]) -> Twins:
    labels = [int(split_of(data, name).labels[row]) for name, row in places]
    return Twins(
        tuple(image_name(split_of(data, name), name, row) for name, row in places),
        tuple(dict.fromkeys(name for name, _ in places)),
        tuple(data.classes[label] for label in dict.fromkeys(labels)),
    )


def image_name(split: Split, name: str, row: int) -> str:
    """Return the path of an image, or its number in its split."""
    file = split.file(row)
    return f"{SPLIT_NAMES[name]} image {row}" if file is None else printable(file.path)


def faults(looked: Looked, facts: Mapping[str, SplitFacts], twins: Sequence[Twins]) -> list[str]:
    """Return what is wrong with the data."""
    data, refusal = looked.data, looked.refusal
    found = [] if refusal is None else [f"a run would refuse it: {refusal}"]
    for name, of in SPLIT_NAMES.items():
        if broken := len(facts[name].broken):
            found.append(f"{broken:,} of {facts[name].looked_at:,} {of} images cannot be read")
    empty = data.classes_without(data.train) if data.targets == "classes" else ()
    if empty and refusal is None and looked.settings.data.limit is None:
        found.append(f"{len(empty)} of {len(data.classes)} classes have no training images: {_some(empty)}")
    if contradicting := [same for same in twins if same.contradicts]:
        found.append(f"{len(contradicting):,} images are in several classes: {_example(contradicting)}")
    if leaking := [same for same in twins if same.leaks]:
        found.append(f"{len(leaking):,} validation images are training images too: {_example(leaking)}")
    return found


def remarks(looked: Looked, facts: Mapping[str, SplitFacts], twins: Sequence[Twins]) -> list[str]:
    """Return what is worth knowing about the data."""
    train, batch = facts["train"], looked.settings.batch_size
    found = list(looked.data.warnings)
    if again := [same for same in twins if not same.leaks and not same.contradicts]:
        found.append(f"{len(again):,} images occur more than once in their class: {_example(again)}")
    for name, of in SPLIT_NAMES.items():
        if facts[name].looked_at < facts[name].images:
            found.append(f"looked at {facts[name].looked_at:,} of {facts[name].images:,} {of} images only (scan=)")
        if enlarged := facts[name].enlarged:
            found.append(f"{enlarged:,} {of} images are smaller than the network's images, and are enlarged")
    if 0 < 2 * min(train.counts, default=0) <= max(train.counts, default=0):
        found.append(f"classes of unequal size: {max(train.counts):,} to {min(train.counts):,} training images")
    if train.images < batch:
        found.append(
            f"batch_size={batch}: there are only {train.images} training images; type batch_size={train.images} or less"
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _example(twins: Sequence[Twins]) -> str:
    first = twins[0]
    return " = ".join(first.names[:2]) + (f" ({_some(first.classes)})" if first.contradicts else "")
