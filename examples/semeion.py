"""A data set in one file (and its YAML in data/): Semeion's handwritten digits, from a text with a row per image."""

from pathlib import Path
from typing import Optional

import numpy as np
import torch

from bagoftricks.errors import DataError
from bagoftricks.plugins import Dataset, DataSettings, MemorySplit, dataset

# ruff: noqa: UP045 (OmegaConf reads Optional)

SIDE, CLASSES = 16, 10


@dataset(name="semeion")
class Semeion(DataSettings):
    """Semeion (UCI): 1,593 black and white images of handwritten digits, 16 x 16 pixels, without a split."""

    root: Optional[str] = None
    """folder of semeion.data"""

    def find(self) -> Dataset:
        """Read the images. Raises DataError for a file that is missing or not what its name says."""
        if self.root is None:
            raise DataError("data.root is not set: type data.root=FOLDER, the folder of semeion.data")
        if not self.holdout:
            raise DataError("data=semeion: has no validation images: hold some out with data.holdout=0.2")
        file = Path(self.root).expanduser() / "semeion.data"
        try:
            table = np.loadtxt(file, ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: cannot be read ({error})") from error
        if table.shape[1] != SIDE**2 + CLASSES:
            raise DataError(f"{file}: has {table.shape[1]} columns, not {SIDE**2} pixels and {CLASSES} classes")
        grey = torch.from_numpy(table[:, : SIDE**2]).mul(255).to(torch.uint8).view(-1, 1, SIDE, SIDE)
        whole = MemorySplit(grey.expand(-1, 3, -1, -1), table[:, SIDE**2 :].argmax(1))
        return Dataset(self.name, tuple(map(str, range(CLASSES))), whole, whole.subset(np.array([], np.int64)))
