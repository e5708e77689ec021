"""Images that come with labels of their own, names or numbers, and with splits of any name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bagoftricks.data.containers import Spans
from bagoftricks.data.listing import Listing, first_names
from bagoftricks.data.sources import Dataset, FileSplit
from bagoftricks.errors import DataError, did_you_mean, printable

Label = str | int
TRAINING = ("train", "training")
VALIDATING = ("val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation")  # the first that is there
WHOLE_NUMBER = re.compile(r"0|[1-9]\d{0,8}")
HOLD_OUT = "hold out a share with data.holdout=0.2"


@dataclass(frozen=True)
class Labelled:
    """Images of one split with their labels; ``source`` names the split in messages."""

    source: str
    paths: Sequence[str]
    labels: Sequence[Label]
    spans: Spans | None = None


def choose_splits(
    where: str, known: Iterable[str], train: str | None, val: str | None, *, holdout: bool
) -> tuple[str, str | None]:
    """Return the names of the training and the validation split among the ``known`` ones. Raises DataError.

    ``train`` and ``val`` are what the user typed; without, they are known by their usual names. With a hold-out there
    is no validation split.
    """
    names = list(dict.fromkeys(known))
    for setting, name in (("train_split", train), ("val_split", val)):
        if name is not None and name not in names:
            raise DataError(
                f"data.{setting}={printable(name)}: {where} has no such split{did_you_mean(name, names)} "
                f"(it has {first_names(names)})"
            )
    first = train or next((name for name in names if name.lower() in TRAINING), None)
    if first is None and len(names) == 1 and names[0].lower() not in VALIDATING:
        (first,) = names
    if first is None:
        raise DataError(f"{where} has no training split, only {first_names(names)}: name one with data.train_split=")
    usual = {name.lower(): name for name in names if name != first}
    second = val or next((usual[name] for name in VALIDATING if name in usual), None)
    if second is None and not holdout:
        others = f" ({first_names(list(usual.values()))}: name one of them with data.val_split=)" if usual else ""
        raise DataError(f"{where} has no validation split{others}: {HOLD_OUT}")
    return first, None if holdout else second


def files_by_split(files: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    """Return the files of each split by the usual name in their path, else by their own name without numbers."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        found.setdefault(_split_of(file.relative_to(root).with_suffix("")), []).append(file)
    return found


def _split_of(path: Path) -> str:
    for part in reversed(path.parts):
        words = re.findall(r"[a-z]+", part.lower())
        if found := [word for word in words if word in (*TRAINING, *VALIDATING)]:
            return str(found[0])
    return re.sub(r"(-\d+-of-\d+|[-_.]?\d+)$", "", path.name) or "all"


def labelled_dataset(
    name: str,
    listing: Listing,
    train: Labelled,
    val: Labelled | None,
    *,
    classes: Sequence[str] | None = None,
    warnings: Sequence[str] = (),
) -> Dataset:
    """Return the data set of labelled images. Raises DataError for a label that is no class.

    Without ``classes``, they are the training labels: numbers in their order if all are, else names, sorted. With them,
    a label that is a number is the place of its class.
    """
    names = sorted_classes(train.labels) if classes is None else list(classes)
    if len(set(names)) < len(names):
        raise DataError(f"{printable(listing.root)}: two classes have one name: {first_names(names)}")
    number = {each: place for place, each in enumerate(names)}
    if classes is not None:
        number = {each: place for each, place in number.items() if not WHOLE_NUMBER.fullmatch(each)}
        number |= {str(place): place for place in range(len(names))}
    splits = [_split(part, number) for part in (train, val) if part is not None]
    none = splits[0].subset(np.array([], np.int64))
    listings = {"train": listing} if val is None else {"train": listing, "val": Listing(root=listing.root)}
    return Dataset(name, tuple(names), splits[0], [*splits, none][1], listings=listings, warnings=tuple(warnings))


def sorted_classes(labels: Iterable[Label]) -> list[str]:
    """Return the distinct labels as names: numbers by their size if all are numbers, else in alphabetical order."""
    names = {str(label) for label in labels}
    return sorted(names, key=int) if all(map(WHOLE_NUMBER.fullmatch, names)) else sorted(names)


def _split(part: Labelled, number: Mapping[str, int]) -> FileSplit:
    unknown = dict.fromkeys(str(label) for label in part.labels if str(label) not in number)
    if unknown:
        names = list(unknown)
        raise DataError(
            f"{part.source}: {len(names)} of its labels are no classes of the training images ({first_names(names)})"
            f"{did_you_mean(names[0], number)}"
        )
    labels = np.array([number[str(label)] for label in part.labels], np.int64)
    return FileSplit(np.array(part.paths, np.str_), labels, spans=part.spans)


def read_classes(folder: Path) -> list[str] | None:
    """Return the names of numbered classes from classes.txt, a line each; None without the file. Raises DataError."""
    file = folder / "classes.txt"
    if not file.is_file():
        return None
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{printable(file)} cannot be read ({printable(error)}): save it as UTF-8") from error
    names = names[: max((row + 1 for row, name in enumerate(names) if name), default=0)]
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{printable(file)}: must have a name for each class, a line each, and no name twice")
    return names
