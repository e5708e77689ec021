"""Images without classes: files, and all images below folders, by the policy of data/ (docs/data.md)."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.listing import Lister
from bagoftricks.data.sources import Dataset, FileSplit
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_path


def find_images(
    places: Iterable[str], max_pixels: int, classes: tuple[str, ...] = (), *, name: str = "images"
) -> Dataset:
    """Return the images in files and below folders as a validation split whose labels are all 0; decode nothing.

    A file that was named is read whatever its suffix; ``name`` is the argument that names the places. Raises DataError
    for a place that is not there or has no image.
    """
    paths: list[str] = []
    listings = {}
    for place in places:
        path = str(local_path(name, place))
        if not os.path.isdir(path):
            paths.append(_existing_file(path, name))
            continue
        lister = Lister(Path(path))
        found = lister.images()
        listings[path] = lister.listing()
        if not found:
            left_out = f"; {listings[path]}" if str(listings[path]) else ""
            suffixes = ", ".join(sorted(SUFFIXES))
            raise DataError(f"{name}={printable(place)}: holds no images ({suffixes}){left_out}")
        paths += found
    paths = list(dict.fromkeys(paths))
    split = FileSplit(np.array(paths), np.zeros(len(paths), np.int64), max_pixels)
    return Dataset("images", classes, split.subset(np.array([], np.int64)), split, listings=listings)


def _existing_file(path: str, name: str) -> str:
    if not os.path.lexists(path):
        folder = os.path.dirname(path) or "."
        near = did_you_mean(os.path.basename(path), os.listdir(folder)) if os.access(folder, os.R_OK | os.X_OK) else ""
        raise DataError(f"{name}={printable(path)}: no such file or folder{near}")
    return path
