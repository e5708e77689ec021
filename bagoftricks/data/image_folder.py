"""Folders of images, one per class, on a disk or in a zip or tar archive; ImageNet is one."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional
from unicodedata import normalize

import numpy as np

from bagoftricks.data.archive_folder import (
    ArchiveFolder,
    archive_warnings,
    folder_or_archive,
    lister_of,
    opened_archive,
)
from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.listing import Lister, first_names
from bagoftricks.data.sources import Dataset, FileSplit, despite_errors
from bagoftricks.errors import DataError, as_text, did_you_mean, printable
from bagoftricks.folders import PACKED
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

Folder = Path | ArchiveFolder
ARCHIVES = (".zip", ".tar")
VALIDATION = ("val", "validation", "valid", "test")  # the first of them that has folders of classes
NO_CLASSES = frozenset({"train", "training", *VALIDATION, "dev", "eval", "testing"})  # if there are no others


@dataset(name="imagefolder")
class ImageFolder(DataSettings):
    """A folder per class: root/train with root/val or root/test, or the classes directly below root.

    The folders may lie in a zip or tar archive, or in two of them: root/train.zip and root/val.zip.
    """

    root: Optional[str] = None
    """folder or archive (.zip, .tar) of the data, with train/ and val/ (or test/) in it, or with the classes"""
    val_root: Optional[str] = None
    """second folder or archive of classes for validation, instead of root/val or root/test"""

    def find(self) -> Dataset:
        root = _given("data.root", self.root)
        if self.holdout and self.val_root:
            raise DataError(
                f"data.holdout={self.holdout:g} and data.val_root={printable(self.val_root)}: both choose the "
                "validation images; leave one of them out"
            )
        train_root, val_root, warnings = _splits(root)
        if self.val_root:
            val_root = _given("data.val_root", self.val_root)
        if val_root is None and not self.holdout:
            why = f" ({warnings[0]})" if warnings else ""
            lacks = "no train/ and val/" if train_root == root else "no val/ or test/ next to train/"
            raise DataError(
                f"{printable(root)} has {lacks}{why}: hold out a share with data.holdout=0.2, "
                "or name a second folder with data.val_root="
            )
        if val_root is not None and not self.holdout:
            _check_apart(train_root, val_root)
        train_lister = lister_of(train_root)
        names = _class_names(train_lister)
        train = _list_images(train_lister, names)
        warnings += [*_look_alikes(names), *_same_folders(train_lister), *archive_warnings(train_root)]
        classes, none = tuple(as_text(name) for name in names), train.subset(np.array([], np.int64))
        if self.holdout and val_root is not None:
            warnings.append(f"{printable(val_root)} is not used: data.holdout takes the validation images from train/")
        listings = {"train": train_lister.listing()}
        found = Dataset("imagefolder", classes, train, none, listings=listings, warnings=tuple(warnings))
        with despite_errors(found):
            found = found if self.holdout or val_root is None else _with_validation(found, lister_of(val_root), names)
        with despite_errors(found):
            _check_classes(train_lister, names, train)
        return found


def _with_validation(found: Dataset, lister: Lister, names: Sequence[str]) -> Dataset:
    """Return the data set with the validation images of a folder."""
    _check_known(lister, names)
    val = _list_images(lister, names)
    return replace(found, val=val, listings={**found.listings, "val": lister.listing()})


def _given(name: str, value: str | None) -> Folder:
    if value is None:
        raise DataError(
            f"{name} is not set: type {name}=FOLDER, a folder (or archive) with a subfolder of images per class"
        )
    return folder_or_archive(name, value)


def _splits(root: Folder) -> tuple[Folder, Folder | None, list[str]]:
    """Return the folders of the training and the validation split, and warnings. A split has folders of classes.

    So a class may be called train, as long as other classes lie next to it and no folders in it. An archive such as
    train.zip stands for the folder train.
    """
    names = lister_of(root).classes()
    folders = {name: root / name for name in ("train", *VALIDATION) if name in names}
    folders |= _archives_of_splits(root, [name for name in ("train", *VALIDATION) if name not in names])
    has_classes = {name: bool(lister_of(folder).classes()) for name, folder in folders.items()}
    others = [name for name in names if name.lower() not in NO_CLASSES]
    if not has_classes.get("train"):
        if names and not others:
            raise DataError(
                f"{printable(root)} has only the folders {first_names(names)}, which are no classes: put the images of "
                "each class into a folder of its own, as train/cat/1.jpg, or name the two splits' folders with "
                "data.root= and data.val_root="
            )
        if not names and (packed := _archives_in(root)):
            raise DataError(
                f"{printable(root)} has no folders, but {first_names(packed)}: type data.root= with the archive"
            )
        return root, None, []
    train = folders["train"]
    chosen = next((name for name in VALIDATION if has_classes.get(name)), None)
    if chosen is None and (beside := [name for name in others if lister_of(root).holds_images(name)]):
        raise DataError(
            f"{printable(root)}: train/ has folders of its own, so it may be the training split, or a class next to "
            f"{first_names(beside)}: type data.root={printable(train)} for the split, or rename the class"
        )
    flat = [name for name in VALIDATION if has_classes.get(name) is False]
    if chosen is None:
        return train, None, [f"{printable(folders[name])} has no folders of classes: ignored" for name in flat]
    passed = [name for name in flat if VALIDATION.index(name) < VALIDATION.index(chosen)]
    warnings = [f"{printable(folders[name])} has no folders of classes: validating on {chosen}/" for name in passed]
    return train, folders[chosen], warnings


def _archives_of_splits(root: Folder, names: Iterable[str]) -> dict[str, ArchiveFolder]:
    """Return the archives of splits in a folder, as train.zip or val.tar."""
    if isinstance(root, ArchiveFolder):
        return {}
    files = {name: [root / f"{name}{suffix}" for suffix in ARCHIVES] for name in names}
    found = {name: [file for file in of if file.is_file()] for name, of in files.items()}
    return {name: opened_archive(of[0]) for name, of in found.items() if of}


def _archives_in(root: Folder) -> list[str]:
    """Return the names of the archives in a folder on a disk."""
    return (
        [] if isinstance(root, ArchiveFolder) else sorted(file.name for file in root.iterdir() if file.suffix in PACKED)
    )


def _check_apart(train: Folder, val: Folder) -> None:
    """Raise DataError if one of the folders is in the other."""
    apart = train.resolve(), val.resolve()
    same = isinstance(train, Path) and isinstance(val, Path) and train.samefile(val)
    if same or apart[0].is_relative_to(apart[1]) or apart[1].is_relative_to(apart[0]):
        raise DataError(
            f"{printable(val)}: shares images with the training folder {printable(train)}, and a "
            "network knows the images that it was trained on: name another folder, or type data.holdout=0.2 instead"
        )


def _class_names(lister: Lister) -> list[str]:
    if names := lister.classes():
        return names
    raise DataError(
        f"{printable(lister.root)} has no subfolders: put the images of each class into a folder of its own"
    )


def _list_images(lister: Lister, names: Sequence[str]) -> FileSplit:
    """Return all image files below ``root/<class>``, sorted; a split may lack a class's folder."""
    there = set(lister.found)
    found = [lister.images(name) if name in there else [] for name in names]
    paths = [path for of_class in found for path in of_class]
    if not paths:
        left_out = f"; {lister.listing()}" if str(lister.listing()) else ""
        raise DataError(f"{printable(lister.root)} holds no images ({_suffixes()}) in its classes' folders{left_out}")
    labels = np.repeat(np.arange(len(names)), [len(of_class) for of_class in found])
    return FileSplit(np.array(paths), labels, spans=lister.spans(paths))


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))


def _check_classes(lister: Lister, names: Sequence[str], train: FileSplit) -> None:
    """Raise DataError unless there are two classes or more, each with training images and a name of its own."""
    root = printable(lister.root)
    counts = np.bincount(train.labels, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise DataError(
            f"{root}: no images ({_suffixes()}) in the folders of {len(empty)} of {len(names)} classes "
            f"({first_names(empty)}): move them away, or put images into them (store= moves the results of runs); "
            f"{lister.listing()}".rstrip("; ")
        )
    if len(names) == 1:
        below = lister.below(names[0]).classes()
        instead = f"type data.root={printable(os.path.join(lister.root, names[0]))}, which has {len(below)} folders"
        raise DataError(
            f"{root} has one class only, '{printable(names[0])}': there is nothing to tell apart; "
            + (instead if len(below) > 1 else "put the images of each class into a folder of its own")
        )
    if len(set(map(as_text, names))) < len(names):
        raise DataError(f"{root}: two classes have the same name once bytes that are no UTF-8 are escaped: rename one")


def _check_known(lister: Lister, names: Sequence[str]) -> None:
    """Raise DataError for a class of the validation images that the training images lack."""
    known = set(names)
    for name in _class_names(lister):
        if name not in known:
            twin = next((other for other in names if _folded(other) == _folded(name)), None)
            meant = f"; its '{printable(twin)}' is spelled with other characters" if twin else did_you_mean(name, names)
            raise DataError(
                printable(f"{lister.root}/{name}: the training images have no class '{name}'{meant}")
                + ": rename the folder, or move it away"
            )


def _look_alikes(names: Iterable[str]) -> list[str]:
    """Return a warning for class names that differ in case or in the composition of accents alone."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_folded(name), []).append(name)
    return [
        f"the classes {first_names(group)} look alike, and are {len(group)}" for group in alike.values() if group[1:]
    ]


def _same_folders(lister: Lister) -> list[str]:
    return [f"the classes {first_names(names)} are one folder, by links" for names in lister.same_folders()]


def _folded(name: str) -> str:
    return normalize("NFC", name).casefold()
