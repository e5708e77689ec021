"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) through torchvision, downloaded if they are not there."""

import sys
from contextlib import redirect_stdout
from typing import Any, Optional

import numpy as np
import torch

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.errors import DataError
from bagoftricks.folders import cache_folder, local_path
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)


@dataset(name="cifar10")
class Cifar10(DataSettings):
    """CIFAR-10: 50,000 and 10,000 images of 32 x 32 pixels in 10 classes."""

    root: Optional[str] = None
    """folder that holds the extracted data, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        from torchvision.datasets import CIFAR10

        return find_cifar(self.name, CIFAR10, self.root)


@dataset(name="cifar100")
class Cifar100(DataSettings):
    """CIFAR-100: 50,000 and 10,000 images of 32 x 32 pixels in 100 classes."""

    root: Optional[str] = None
    """folder that holds the extracted data, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        from torchvision.datasets import CIFAR100

        return find_cifar(self.name, CIFAR100, self.root)


def find_cifar(name: str, kind: Any, folder: str | None) -> Dataset:
    """Read both splits with torchvision's class ``kind``."""
    root = local_path("data.root", folder) if folder else cache_folder()
    try:
        with redirect_stdout(sys.stderr):  # torchvision announces what it extracts
            parts = [kind(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{name} is not in {root} and could not be downloaded ({reason}): put the extracted "
            f"{kind.base_folder} folder there, name the folder that holds it with data.root=, "
            "or use data=imagefolder for a folder of images per class"
        ) from error
    train, val = (
        MemorySplit(torch.from_numpy(part.data).permute(0, 3, 1, 2), np.asarray(part.targets, np.int64))
        for part in parts
    )
    return Dataset(name, tuple(parts[0].classes), train, val)
