"""iFood-2019: photographs of prepared dishes, with the names of their files and classes in lists."""

import csv
from pathlib import Path
from typing import Optional

from bagoftricks.data.published import LabelledPaths, Listed, Published, find_listed, lines
from bagoftricks.data.sources import Dataset
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

IFOOD = Published(
    folder="ifood-2019-fgvc6",
    needs=("train_set", "val_set", "train_labels.csv", "val_labels.csv", "class_list.txt"),
    images=(118_475, 11_994),
    classes=251,
)


@dataset(name="ifood")
class IFood(DataSettings):
    """iFood-2019 (Kaur et al. 2019): 118,475 and 11,994 photographs of 251 dishes; the training labels have noise."""

    root: Optional[str] = None
    """folder that holds ifood-2019-fgvc6/, with train_set/, val_set/ and its lists, as its archive on Kaggle"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, IFOOD, read_ifood)


def read_ifood(base: Path) -> Listed:
    named = (line.split(maxsplit=1) for line in lines(base / "class_list.txt"))
    names = {int(number): name for number, name in named}

    def rows(split: str) -> LabelledPaths:
        with (base / f"{split}_labels.csv").open(encoding="utf-8", newline="") as file:
            return [(f"{split}_set/{row['img_name']}", int(row["label"])) for row in csv.DictReader(file)]

    return Listed([names[number] for number in range(len(names))], rows("train"), rows("val"))
