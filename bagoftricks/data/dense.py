"""Masks and boxes of images in files, for the readers of data sets that have them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bagoftricks.data.sources import DIFFICULT, Boxes, FileSplit, Split
from bagoftricks.errors import DataError, printable

BoxRow = tuple[float, float, float, float, float]  # of a split's boxes


def with_masks(name: str, split: Split, mask_of: Callable[[Path], Path], first_class: int = 0) -> FileSplit:
    """Return the split with the mask of each image's path. Raises DataError for those without one."""
    assert isinstance(split, FileSplit)
    masks = [mask_of(Path(path)) for path in split.paths.tolist()]
    if gone := [printable(mask.name) for mask in masks if not mask.is_file()]:
        raise DataError(f"{name}: {len(gone):,} masks are missing ({gone[0]}): extract its archive again")
    return replace(split, masks=np.array([str(mask) for mask in masks]), first_class=first_class)


def box_row(corners: Sequence[float], size: tuple[int, int], label: int, *, difficult: bool = False) -> BoxRow | None:
    """Return the row of a box (left, top, right, bottom) in pixels, cut at the sides of its image; None if it is empty.

    ``size`` is (width, height). Raises ValueError for an image without an area and for corners that are no numbers.
    """
    if not (len(corners) == 4 and all(map(math.isfinite, corners))):
        raise ValueError(f"a box with the corners {list(corners)}")
    if min(size) < 1:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels")
    left, top, right, bottom = (min(max(at, 0), size[i % 2]) for i, at in enumerate(corners))
    if right <= left or bottom <= top:
        return None
    side = max(size)
    return left / side, top / side, right / side, bottom / side, float(label + DIFFICULT * difficult)


def padded_boxes(images: Sequence[Sequence[BoxRow]]) -> Boxes:
    """Return the boxes of each image, filled up with rows of class -1 to the most that an image has."""
    boxes = np.full((len(images), max(1, *map(len, images), 1), 5), -1, np.float32)
    for place, rows in zip(boxes, images, strict=True):
        place[: len(rows)] = np.reshape(rows, (-1, 5))
    return boxes
