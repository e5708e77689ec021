"""Published data sets whose images lie in arrays: SVHN in MATLAB's files, STL-10 in raw bytes."""

from pathlib import Path
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import torch

from bagoftricks.data.published import Published, find_folder, lines, matlab, reading, require_whole
from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

SVHN = Published(
    folder="svhn",
    needs=("train_32x32.mat", "test_32x32.mat"),
    images=(73_257, 26_032),
    classes=10,
    download=lambda datasets, root: [datasets.SVHN(root / "svhn", of, download=True) for of in ("train", "test")],
)
STL10 = Published(
    folder="stl10_binary",
    needs=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
    images=(5_000, 8_000),
    classes=10,
    download=lambda datasets, root: datasets.STL10(root, download=True),
)


@dataset(name="svhn")
class Svhn(DataSettings):
    """SVHN (Netzer et al. 2011): 73,257 and 26,032 photographs of house numbers' digits, 32 x 32 pixels."""

    root: Optional[str] = None
    """folder that holds svhn/ or the .mat files, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        base = find_folder(self.name, self.root, SVHN)
        with reading(self.name, base):
            train, val = (read_svhn(base / f"{of}_32x32.mat") for of in ("train", "test"))
        return require_whole(Dataset(self.name, tuple(str(digit) for digit in range(10)), train, val), SVHN)


def read_svhn(file: Path) -> MemorySplit:
    arrays = matlab(file, "X", "y")
    return in_memory(arrays["X"].transpose(3, 0, 1, 2), arrays["y"] % 10)  # the digit 0 has the label 10


@dataset(name="stl10")
class Stl10(DataSettings):
    """STL-10 (Coates et al. 2011): 5,000 and 8,000 photographs of 10 classes, 96 x 96 pixels, of ImageNet."""

    root: Optional[str] = None
    """folder that holds stl10_binary/, or receives the download (3 GB); default: a cache of the user's"""

    def find(self) -> Dataset:
        base = find_folder(self.name, self.root, STL10)
        with reading(self.name, base):
            train, val = (read_stl10(base, of) for of in ("train", "test"))
            classes = lines(base / "class_names.txt")
        return require_whole(Dataset(self.name, tuple(classes), train, val), STL10)


def read_stl10(base: Path, split: str) -> MemorySplit:
    images = (
        np.fromfile(base / f"{split}_X.bin", np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    )  # columns first
    return in_memory(images, np.fromfile(base / f"{split}_y.bin", np.uint8) - 1)  # labels are from 1


def in_memory(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> MemorySplit:
    """Return a split of images (N, H, W, 3) of bytes, whatever the order of their memory."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != len(labels):
        raise ValueError(f"{images.dtype} of shape {images.shape}, with {len(labels):,} labels")
    return MemorySplit(torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2), labels.astype(np.int64))
