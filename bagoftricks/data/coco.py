"""Data sets in COCO's format: photographs with boxes, in one JSON file for each split."""

import json
from pathlib import Path
from typing import Any, Optional

from bagoftricks.data.dense import BoxRow, box_row, padded_boxes
from bagoftricks.data.published import listed_files
from bagoftricks.data.sources import Dataset, FileSplit
from bagoftricks.errors import DataError, UserError, printable
from bagoftricks.folders import local_folder
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

MOST_JSON = 4 * 2**30  # bytes of a file of annotations


@dataset(name="coco")
class Coco(DataSettings):
    """Boxes in COCO's format (Lin et al. 2014): COCO 2017 by default, or a set of your own.

    Classes are the categories in the order of their ids. Crowds and boxes without an area are left out, of the training
    images those without a box, too. Validation images without a box stay: whatever is found there is a mistake.
    """

    places = (*DataSettings.places, "annotations", "val_annotations", "images", "val_images")

    root: Optional[str] = None
    """folder that holds the annotations and the folders of images"""
    annotations: str = "annotations/instances_train2017.json"
    """JSON file of the training boxes, below data.root"""
    val_annotations: str = "annotations/instances_val2017.json"
    """JSON file of the validation boxes, below data.root"""
    images: str = "train2017"
    """folder of the training images, below data.root"""
    val_images: str = "val2017"
    """folder of the validation images, below data.root"""

    def find(self) -> Dataset:
        if self.root is None:
            raise UserError("data=coco needs data.root=FOLDER, which holds annotations/ and the folders of images")
        root = local_folder("data.root", self.root).absolute()
        classes, train = read_annotations(root, "annotations", self.annotations, self.images, with_empty=False)
        others, val = read_annotations(root, "val_annotations", self.val_annotations, self.val_images, with_empty=True)
        if classes != others:
            raise DataError(
                f"data=coco: {printable(self.annotations)} and {printable(self.val_annotations)} have different "
                "categories: give both files the same, with the same ids"
            )
        return Dataset(self.name, classes, train, val, targets="boxes")


def read_annotations(
    root: Path, setting: str, name: str, images: str, *, with_empty: bool
) -> tuple[tuple[str, ...], FileSplit]:
    """Return the classes and the images of a file of annotations, in the order of the images' ids."""
    file, shown = root / name, f"data.{setting}={printable(name)}"
    if not file.is_file():
        raise DataError(f"{shown}: no such file in {printable(root)}")
    if file.stat().st_size > MOST_JSON:
        raise DataError(f"{shown}: has {file.stat().st_size:,} bytes, more than {MOST_JSON:,}")
    try:
        classes, found = boxes_of(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, KeyError) as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else printable(str(error).partition("\n")[0])
        raise DataError(f"{shown}: not in COCO's format ({why}): it needs images, annotations, categories") from error
    kept = [(path, rows) for path, rows in found if rows or with_empty]
    split = listed_files("coco", root, [(f"{images}/{path}", 0) for path, _ in kept])
    boxes = padded_boxes([rows for _, rows in kept])
    return classes, FileSplit(split.paths, split.labels, boxes=boxes)


def boxes_of(content: Any) -> tuple[tuple[str, ...], list[tuple[str, list[BoxRow]]]]:
    """Return the classes, and of each image its name and boxes. Raises KeyError, TypeError or ValueError."""
    names = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    classes = tuple(names[key] for key in sorted(names))
    if len(set(classes)) < len(content["categories"]):
        raise ValueError("two categories have one id or one name")
    number = {key: place for place, key in enumerate(sorted(names))}
    images = {int(image["id"]): image for image in content["images"]}
    if len(images) < len(content["images"]):
        raise ValueError("two images have one id")
    rows: dict[int, list[BoxRow]] = {key: [] for key in sorted(images)}
    for item in content["annotations"]:
        image, label = images.get(item["image_id"]), number.get(item["category_id"])
        if image is None or label is None:
            raise ValueError(f"annotation {item.get('id')} is of an image or a category that is not listed")
        left, top, width, height = map(float, item["bbox"])
        size = int(image["width"]), int(image["height"])
        row = box_row((left, top, left + width, top + height), size, label)
        rows[item["image_id"]] += [row] if row is not None and not item.get("iscrowd") else []
    return classes, [(str(images[key]["file_name"]), rows[key]) for key in rows]
