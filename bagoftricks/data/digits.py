"""Handwritten digits that come with this package.

``digits.npz`` holds the 1,797 images of scikit-learn's load_digits (BSD-3-Clause), which are the test set of "Optical
Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998, CC BY 4.0).
"""

from pathlib import Path

import numpy as np
import torch

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.registry import dataset
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

GREYS_AND_LABELS = Path(__file__).with_suffix(".npz")
LEVELS = 16  # of the darkest pixel


@dataset(name="digits")
class Digits(DataSettings):
    """scikit-learn's 1,797 handwritten digits (UCI, 8x8, 17 grey levels): a fixed fifth of them for validation."""

    packaged = True

    def find(self) -> Dataset:
        with np.load(GREYS_AND_LABELS) as held:
            greys, labels = held["greys"], held["labels"]
        bytes_of = np.rint(np.arange(LEVELS + 1) * (255 / LEVELS)).astype(np.uint8)
        grey = torch.from_numpy(bytes_of[greys]).view(-1, 1, 8, 8)
        colours = grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        whole = MemorySplit(colours, labels.astype(np.int64))
        rows = Key(0).fold("digits").numpy().permutation(len(labels))
        val, train = np.sort(rows[: len(rows) // 5]), np.sort(rows[len(rows) // 5 :])
        names = tuple(str(digit) for digit in range(10))
        return Dataset("digits", names, whole.subset(train), whole.subset(val))
