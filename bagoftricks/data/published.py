"""Published data sets: found below data.root, downloaded where torchvision can do it, and counted.

Each has its facts in a ``Published`` and a function that reads its lists; what they share is here.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bagoftricks.data.listing import first_names
from bagoftricks.data.sources import Dataset, FileSplit, despite_errors
from bagoftricks.errors import DataError, printable
from bagoftricks.folders import cache_folder, local_folder
from bagoftricks.settings import DataSettings

LabelledPaths = Sequence[tuple[str, int]]  # images of a split: path below the data set's folder, label


@dataclass(frozen=True, kw_only=True)
class Published:
    """Facts of a data set: where its files lie, and how much of everything was published."""

    folder: str  # below data.root, as its archive or torchvision names it; data.root itself may be it, too
    needs: tuple[str, ...]  # patterns of files and folders in it
    images: tuple[int, int]  # training and validation images
    classes: int
    # called with torchvision.datasets and a folder; None where that is not possible, or is too much to do unasked
    download: Callable[[Any, Path], object] | None = None


@dataclass(frozen=True)
class Listed:
    """Class names, and the images of both splits, as the lists of a data set give them."""

    classes: Sequence[str]
    train: LabelledPaths
    val: LabelledPaths


def find_listed(settings: DataSettings, root: str | None, facts: Published, read: Callable[[Path], Listed]) -> Dataset:
    """Return a data set whose images are files that its lists name. Raises DataError if it is not whole."""
    base = find_folder(settings.name, root, facts)
    with reading(settings.name, base):
        listed = read(base)
        train, val = (listed_files(settings.name, base, rows) for rows in (listed.train, listed.val))
    return require_whole(Dataset(settings.name, tuple(listed.classes), train, val), facts)


def find_folder(name: str, typed: str | None, facts: Published) -> Path:
    """Return the folder of a data set, downloaded if it is missing and can be. ``typed``: data.root."""
    root = local_folder("data.root", typed).absolute() if typed else cache_folder()
    found, failed = _folder_below(root, facts), ""
    if found is None and facts.download is not None:
        failed = _download(root, facts.download)
        found = _folder_below(root, facts)
    if found is not None:
        return found
    folder = root / facts.folder
    lacking = [part for part in facts.needs if not has(folder, part)]
    raise DataError(
        f"{name}{failed}: {printable(folder)} lacks {first_names(lacking)}: put its extracted files there, or name the "
        f"folder that holds {facts.folder}/ with data.root="
    )


def _folder_below(root: Path, facts: Published) -> Path | None:
    folders = (root / facts.folder, root)
    return next((folder for folder in folders if all(has(folder, part) for part in facts.needs)), None)


def has(folder: Path, pattern: str) -> bool:
    return next(folder.glob(pattern), None) is not None


def _download(root: Path, download: Callable[[Any, Path], object]) -> str:
    """Download a data set; return why that failed, as a part of a sentence, or an empty text."""
    from torchvision import datasets

    try:
        with redirect_stdout(sys.stderr):  # torchvision announces what it extracts
            download(datasets, root)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(":") or type(error).__name__
        return f" could not be downloaded ({printable(reason)})"
    return ""


@contextmanager
def reading(name: str, base: Path) -> Iterator[None]:
    """Raise DataError for whatever a reader raises at files that are not as published."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of text, JSON and MATLAB's files: a dozen kinds
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise DataError(
            f"{name}: {printable(base)} is damaged, or not as published ({reason}): extract its archives again"
        ) from error


def listed_files(name: str, base: Path, rows: LabelledPaths) -> FileSplit:
    """Return the images of a split. Raises DataError for those that are not there."""
    there = {folder: _names_in(base / folder) for folder in {os.path.dirname(path) for path, _ in rows}}
    gone = [path for path, _ in rows if os.path.basename(path) not in there[os.path.dirname(path)]]
    if gone:
        raise DataError(
            f"{name}: {len(gone):,} of {len(rows):,} listed images are not in {printable(base)} "
            f"({first_names(gone)}): extract its archives again"
        )
    paths = [os.path.join(base, path) for path, _ in rows]
    return FileSplit(np.array(paths), np.array([label for _, label in rows], np.int64))


def _names_in(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()


def require_whole(data: Dataset, facts: Published) -> Dataset:
    """Return the data set. Raises DataError unless it has as many images and classes as were published."""
    with despite_errors(data):
        found = len(data.train.labels), len(data.val.labels), len(data.classes)
        if found != (published := (*facts.images, facts.classes)):
            raise DataError(
                f"{data.name}: has {_counts(found)}; published are {_counts(published)}: extract its archives again, "
                "or use a part of it as data=imagefolder (data.limit= is for quick tests)"
            )
    return data


def _counts(counts: Sequence[int]) -> str:
    train, val, classes = counts
    return f"{train:,} training and {val:,} validation images of {classes} classes"


def lines(file: Path) -> list[str]:
    """Return the lines of a text that are not blank."""
    return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]


def matlab(file: Path, *names: str) -> dict[str, Any]:
    """Return variables of a MATLAB file, read without executing anything."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    found = loadmat(file, squeeze_me=True, variable_names=names)
    return {name: found[name] for name in names}
