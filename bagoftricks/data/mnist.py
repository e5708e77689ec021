"""MNIST and the sets in its format, in idx files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from bagoftricks.data.idx import read_split
from bagoftricks.data.published import Published, find_folder, require_whole
from bagoftricks.data.sources import Dataset, relabelled
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings, choose

# ruff: noqa: UP045 (OmegaConf reads Optional)

NEEDS = ("train-images*", "train-labels*", "t10k-images*", "t10k-labels*")
MNIST = Published(
    folder="MNIST/raw",
    needs=NEEDS,
    images=(60_000, 10_000),
    classes=10,
    download=lambda datasets, root: datasets.MNIST(root, download=True),
)
FASHION_MNIST = replace(
    MNIST, folder="FashionMNIST/raw", download=lambda datasets, root: datasets.FashionMNIST(root, download=True)
)
KMNIST = replace(MNIST, folder="KMNIST/raw", download=lambda datasets, root: datasets.KMNIST(root, download=True))


def _emnist(subset: str, images: tuple[int, int], classes: int) -> Published:
    return Published(
        folder="EMNIST/raw",
        needs=tuple(f"emnist-{subset}-{of}*" for of in ("train-images", "train-labels", "test-images", "test-labels")),
        images=images,
        classes=classes,
        download=lambda datasets, root: datasets.EMNIST(root, subset, download=True),
    )


EMNIST = {
    "balanced": _emnist("balanced", (112_800, 18_800), 47),
    "byclass": _emnist("byclass", (697_932, 116_323), 62),
    "bymerge": _emnist("bymerge", (697_932, 116_323), 47),
    "letters": _emnist("letters", (124_800, 20_800), 26),
    "digits": _emnist("digits", (240_000, 40_000), 10),
    "mnist": _emnist("mnist", (60_000, 10_000), 10),
}


@dataset(name="mnist")
class Mnist(DataSettings):
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 grey images of handwritten digits, 28 x 28 pixels."""

    root: Optional[str] = None
    """folder that holds MNIST/raw/ or the idx files, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        return find_mnist(self, self.root, MNIST, [str(digit) for digit in range(10)])


@dataset(name="fashion_mnist")
class FashionMnist(DataSettings):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 grey images of clothes, 28 x 28 pixels, 10 classes."""

    root: Optional[str] = None
    """folder that holds FashionMNIST/raw/ or the idx files, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        from torchvision.datasets import FashionMNIST

        return find_mnist(self, self.root, FASHION_MNIST, FashionMNIST.classes)


@dataset(name="kmnist")
class KMnist(DataSettings):
    """Kuzushiji-MNIST (Clanuwat et al. 2018): 60,000 and 10,000 grey images of 10 cursive kana, 28 x 28 pixels."""

    root: Optional[str] = None
    """folder that holds KMNIST/raw/ or the idx files, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        from torchvision.datasets import KMNIST as Theirs

        return find_mnist(self, self.root, KMNIST, Theirs.classes)


@dataset(name="emnist")
class EMnist(DataSettings):
    """EMNIST (Cohen et al. 2017): grey images of handwritten letters and digits, 28 x 28 pixels, upright."""

    root: Optional[str] = None
    """folder that holds EMNIST/raw/ or the idx files, or receives the download; default: a cache of the user's"""
    subset: str = "balanced"
    """balanced (47 classes), byclass (62), bymerge (47), letters (26), digits (10) or mnist (10)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("data.subset", self.subset, ("balanced", "byclass", "bymerge", "letters", "digits", "mnist"))

    def find(self) -> Dataset:
        from torchvision.datasets import EMNIST as Theirs

        names = [name for name in Theirs.classes_split_dict[self.subset] if name != "N/A"]
        begins = (f"emnist-{self.subset}-train", f"emnist-{self.subset}-test")
        data = find_mnist(self, self.root, EMNIST[self.subset], names, begins, transposed=True)
        if self.subset != "letters":
            return data
        train, val = (relabelled(split, split.labels - 1) for split in (data.train, data.val))  # they are from 1
        return replace(data, train=train, val=val)


def find_mnist(
    settings: DataSettings,
    root: str | None,
    facts: Published,
    classes: Sequence[str],
    begins: tuple[str, str] = ("train", "t10k"),
    *,
    transposed: bool = False,
) -> Dataset:
    """Return both splits of idx files whose names begin with ``begins``; ``transposed``: columns come first."""
    base = find_folder(settings.name, root, facts)
    train, val = (read_split(base, begin, transposed=transposed) for begin in begins)
    return require_whole(Dataset(settings.name, tuple(classes), train, val), facts)
