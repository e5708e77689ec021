"""Stanford Online Products: photographs of products on sale. Validation has other products than training."""

from dataclasses import replace
from pathlib import Path
from typing import Optional

from bagoftricks.data.published import Listed, Published, find_listed, lines
from bagoftricks.data.sources import Dataset
from bagoftricks.errors import DataError
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

SOP = Published(
    folder="Stanford_Online_Products",
    needs=("Ebay_train.txt", "Ebay_test.txt", "bicycle_final"),
    images=(59_551, 60_502),
    classes=22_634,
)


@dataset(name="sop")
class OnlineProducts(DataSettings):
    """Stanford Online Products (Song et al. 2016): 59,551 photographs of 11,318 products, 60,502 of others."""

    root: Optional[str] = None
    """folder that holds Stanford_Online_Products/, with its lists Ebay_train.txt and Ebay_test.txt"""

    def find(self) -> Dataset:
        return replace(find_listed(self, self.root, SOP, read_products), targets="unseen")


def read_products(base: Path) -> Listed:
    """Return the products of both lists, named by their kind and number: ``bicycle_111085122871``."""
    names, splits = dict[int, str](), []
    for file in ("Ebay_train.txt", "Ebay_test.txt"):
        rows = []
        for line in lines(base / file)[1:]:  # below the headings image_id class_id super_class_id path
            _, number, _, path = line.split()
            kind, _, photograph = path.partition("/")
            names.setdefault(int(number), f"{kind.removesuffix('_final')}_{photograph.rpartition('_')[0]}")
            rows.append((path, int(number) - 1))
        splits.append(rows)
    if sorted(names) != list(range(1, len(names) + 1)):
        raise DataError(f"sop: {base}: its lists leave out numbers of products: extract its archive again")
    return Listed([names[number] for number in sorted(names)], *splits)
