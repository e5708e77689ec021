"""Pascal VOC: photographs with a class for each pixel, or with boxes of objects."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional
from xml.etree import ElementTree

from bagoftricks.data.dense import BoxRow, box_row, padded_boxes, with_masks
from bagoftricks.data.published import LabelledPaths, Listed, Published, find_listed, lines
from bagoftricks.data.sources import Dataset, FileSplit, Split
from bagoftricks.errors import DataError, printable
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings, choose

# ruff: noqa: UP045 (OmegaConf reads Optional)

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_LISTS = {  # training and validation, below VOCdevkit/
    "masks": (["VOC2012/ImageSets/Segmentation/train.txt"], ["VOC2012/ImageSets/Segmentation/val.txt"]),
    "boxes": (
        ["VOC2007/ImageSets/Main/trainval.txt", "VOC2012/ImageSets/Main/trainval.txt"],
        ["VOC2007/ImageSets/Main/test.txt"],
    ),
}
VOC = {
    targets: Published(folder="VOCdevkit", needs=(*train, *val), images=images, classes=classes)
    for (targets, (train, val)), images, classes in zip(
        VOC_LISTS.items(), ((1_464, 1_449), (16_551, 4_952)), (21, 20), strict=True
    )
}
MOST_ANNOTATION_BYTES = 2**20  # of an annotation; VOC's have a few thousand


@dataset(name="voc")
class Voc(DataSettings):
    """Pascal VOC (Everingham et al. 2010): masks of VOC 2012, or boxes of VOC 2007 and 2012 together.

    Masks: 1,464 and 1,449 photographs, 20 classes and the background; pixels that VOC leaves open are not counted.
    Boxes: 16,551 photographs to train on, and the 4,952 of VOC 2007's test. Objects that VOC calls difficult are not
    trained on, need not be found, and finding them is no mistake.
    """

    targets: str = "masks"
    """masks (VOC 2012's classes of pixels) or boxes (of VOC 2007 and 2012, validated on VOC 2007's test)"""
    root: Optional[str] = None
    """folder that holds VOCdevkit/, as the archives have it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("data.targets", self.targets, tuple(VOC_LISTS))

    def find(self) -> Dataset:
        def read(base: Path) -> Listed:
            train, val = (photographs(base, lists) for lists in VOC_LISTS[self.targets])
            return Listed(CLASSES if self.targets == "boxes" else ("background", *CLASSES), train, val)

        found = find_listed(self, self.root, VOC[self.targets], read)
        if self.targets == "masks":
            train, val = (with_masks(self.name, split, voc_mask) for split in (found.train, found.val))
        else:
            train, val = with_boxes(found.train, keep_difficult=False), with_boxes(found.val, keep_difficult=True)
        return replace(found, train=train, val=val, targets=self.targets)


def photographs(base: Path, lists: Sequence[str]) -> LabelledPaths:
    """Return the paths of the photographs in lists."""
    return [(f"{name.split('/')[0]}/JPEGImages/{line}.jpg", 0) for name in lists for line in lines(base / name)]


def voc_mask(image: Path) -> Path:
    return image.parents[1] / "SegmentationClass" / f"{image.stem}.png"


def with_boxes(split: Split, *, keep_difficult: bool) -> FileSplit:
    """Return the split with the boxes of its photographs. Raises DataError for a damaged annotation."""
    assert isinstance(split, FileSplit)
    paths = [Path(path) for path in split.paths.tolist()]
    files = [path.parents[1] / "Annotations" / f"{path.stem}.xml" for path in paths]
    return replace(split, boxes=padded_boxes([read_objects(file, keep_difficult=keep_difficult) for file in files]))


def read_objects(file: Path, *, keep_difficult: bool) -> list[BoxRow]:
    """Return the boxes in an annotation. VOC counts pixels from 1 and has a box's last ones in it: 1..W is 0 to W."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_ANNOTATION_BYTES + 1)
        if len(data) > MOST_ANNOTATION_BYTES:
            raise ValueError(f"more than {MOST_ANNOTATION_BYTES:,} bytes")
        text = data.decode("utf-8")
        if "<!" in text.replace("<!--", ""):
            raise ValueError("it declares a document type or entities, which VOC's do not")
        root = ElementTree.fromstring(text)
        size = int(_text(root, "size/width")), int(_text(root, "size/height"))
        rows = []
        for item in root.iterfind("object"):
            difficult = item.findtext("difficult", "0").strip() == "1"
            left, top, right, bottom = (float(_text(item, f"bndbox/{at}")) for at in ("xmin", "ymin", "xmax", "ymax"))
            if (name := _text(item, "name")) not in CLASSES:
                raise ValueError(f"{name} is no class of VOC")
            corners = left - 1, top - 1, right, bottom
            row = box_row(corners, size, CLASSES.index(name), difficult=difficult)
            rows += [row] if row is not None and (keep_difficult or not difficult) else []
    except (OSError, ValueError, ElementTree.ParseError) as error:
        why = printable(str(error).partition("\n")[0])
        raise DataError(f"voc: {printable(file)}: no annotation of VOC ({why}): extract its archive again") from error
    return rows


def _text(parent: ElementTree.Element, path: str) -> str:
    """Return the text of an element below another. Raises ValueError without one."""
    if not (text := parent.findtext(path, "").strip()):
        raise ValueError(f"<{parent.tag}> lacks {path}")
    return text
