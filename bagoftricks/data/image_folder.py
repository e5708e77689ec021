"""Folders of images, one per class; ImageNet is one."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Optional

import numpy as np

from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.sources import Dataset, FileSplit
from bagoftricks.errors import DataError
from bagoftricks.folders import local_folder
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)


@dataset(name="imagefolder")
class ImageFolder(DataSettings):
    """A folder per class: root/train with root/val or root/test, or the classes directly below root."""

    root: Optional[str] = None
    """folder of the data, with train/ and val/ (or test/) below it, or with the classes directly below it"""
    val_root: Optional[str] = None
    """second folder of classes for validation, instead of root/val or root/test"""

    def find(self) -> Dataset:
        root = _folder("data.root", self.root)
        train_root = root / "train" if (root / "train").is_dir() else root
        beside = [
            root / name for name in ("val", "validation", "test") if train_root != root and (root / name).is_dir()
        ]
        val_root = _folder("data.val_root", self.val_root) if self.val_root else next(iter(beside), None)
        if val_root is None and not self.holdout:
            raise DataError(
                f"{root} has no val/ or test/ next to train/: hold out a share with data.holdout=0.2, "
                "or name a second folder with data.val_root="
            )
        classes = _class_names(train_root)
        digest = blake2b(digest_size=16)
        train = _list_files(train_root, classes, digest)
        val = _list_files(val_root, classes, digest) if val_root else train.subset(np.array([], np.int64))
        return Dataset("imagefolder", classes, train, val, digest.hexdigest())


def _folder(name: str, value: str | None) -> Path:
    if value is None:
        raise DataError(f"{name} is not set: type {name}=FOLDER, a folder with a subfolder of images per class")
    return local_folder(name, value)


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{root} has no subfolders: put the images of each class into a folder of its own")
    return tuple(names)


def _list_files(root: Path, classes: tuple[str, ...], digest: blake2b) -> FileSplit:
    """Return all image files below ``root/<class>``, sorted; their relative paths and sizes go into ``digest``."""
    strangers = [name for name in _class_names(root) if name not in classes]
    if strangers:
        raise DataError(f"{root}/{strangers[0]}: the training images have no class '{strangers[0]}'")
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for folder, _, files in sorted(os.walk(root / name)):
            below = os.path.relpath(folder, root)
            for file in sorted(files):
                if os.path.splitext(file)[1].lower() in SUFFIXES:
                    path = f"{folder}{os.sep}{file}"
                    digest.update(f"{below}{os.sep}{file}\0{os.stat(path).st_size}\n".encode())
                    paths.append(path)
                    labels.append(label)
    if not paths:
        raise DataError(f"{root} holds no images ({', '.join(sorted(SUFFIXES))}) in its classes' folders")
    return FileSplit(np.array(paths), np.array(labels, np.int64))
