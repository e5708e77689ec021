"""ADE20K's scene parsing benchmark: photographs with a class for each pixel."""

from dataclasses import replace
from pathlib import Path
from typing import Optional

from bagoftricks.data.dense import with_masks
from bagoftricks.data.published import LabelledPaths, Listed, Published, find_listed, lines
from bagoftricks.data.sources import Dataset
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

ADE20K = Published(
    folder="ADEChallengeData2016",
    needs=(
        "images/training",
        "images/validation",
        "annotations/training",
        "annotations/validation",
        "objectInfo150.txt",
    ),
    images=(20_210, 2_000),
    classes=150,
)


@dataset(name="ade20k")
class Ade20k(DataSettings):
    """ADE20K's scene parsing benchmark (Zhou et al. 2017): 20,210 and 2,000 photographs, 150 classes of pixels.

    Pixels of none of the classes (0 in the masks) are neither trained on nor scored.
    """

    root: Optional[str] = None
    """folder that holds ADEChallengeData2016/, as the archive of the benchmark has it"""

    def find(self) -> Dataset:
        found = find_listed(self, self.root, ADE20K, read_ade20k)
        train, val = (with_masks(self.name, split, ade20k_mask, first_class=1) for split in (found.train, found.val))
        return replace(found, train=train, val=val, targets="masks")


def read_ade20k(base: Path) -> Listed:
    names = [line.split("\t")[-1].strip() for line in lines(base / "objectInfo150.txt")[1:]]

    def rows(split: str) -> LabelledPaths:
        return [(f"images/{split}/{path.name}", 0) for path in sorted((base / "images" / split).glob("*.jpg"))]

    return Listed(names, rows("training"), rows("validation"))


def ade20k_mask(image: Path) -> Path:
    return image.parents[2] / "annotations" / image.parent.name / f"{image.stem}.png"
