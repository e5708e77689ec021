"""A data set in one file (and its YAML in data/): Fashion-MNIST from its four idx files."""

import gzip
from pathlib import Path
from typing import Optional

import numpy as np
import torch

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.errors import DataError
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SPLITS = {"train": "train", "val": "t10k"}  # the beginnings of the files' names


@dataset(name="fashion_mnist")
class FashionMNIST(DataSettings):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 grey images of 28 x 28 pixels in 10 classes."""

    root: Optional[str] = None
    """folder of the four idx files (train-images-idx3-ubyte, ...), packed with gzip or not"""

    def find(self) -> Dataset:
        """Read both splits. Raises DataError for a file that is missing or not what its name says."""
        if self.root is None:
            raise DataError("data.root is not set: type data.root=FOLDER, the folder of Fashion-MNIST's idx files")
        train, val = (read_split(Path(self.root).expanduser(), begin) for begin in SPLITS.values())
        return Dataset(self.name, CLASSES, train, val)


def read_split(root: Path, begin: str) -> MemorySplit:
    """Read the images and labels whose files begin with ``train`` or ``t10k``."""
    images = read_idx(root, f"{begin}-images-idx3-ubyte", 3)
    labels = read_idx(root, f"{begin}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or labels.max(initial=0) >= len(CLASSES):
        raise DataError(f"{root}: the {begin} files do not belong together: {len(images)} images, {len(labels)} labels")
    grey = torch.from_numpy(images).unsqueeze(1)
    return MemorySplit(grey.expand(-1, 3, -1, -1).contiguous(), labels.astype(np.int64))


def read_idx(root: Path, name: str, dims: int) -> np.ndarray:
    """Read an idx file of bytes: two zeros, the type 8, the number of dimensions, the sizes, the values."""
    path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise DataError(f"{root} has no {name} or {name}.gz: put Fashion-MNIST's four files there")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked ({error})") from error
    start = 4 + 4 * dims
    sizes = np.frombuffer(data[4:start], ">u4") if len(data) >= start else np.array([0])
    if data[:4] != bytes([0, 0, 8, dims]) or len(data) != start + sizes.prod(dtype=np.int64):
        raise DataError(f"{path}: is not an idx file of {dims} dimensions, or is cut short")
    return np.frombuffer(data[start:], np.uint8).reshape(sizes).copy()
