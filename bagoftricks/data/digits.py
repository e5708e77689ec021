"""The digits of scikit-learn."""

import numpy as np
import torch

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.registry import dataset
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings


@dataset(name="digits")
class Digits(DataSettings):
    """scikit-learn's 1,797 handwritten digits (UCI, 8x8, 17 grey levels): a fixed fifth of them for validation."""

    def find(self) -> Dataset:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        grey = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
        colours = grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        whole = MemorySplit(colours, labels.astype(np.int64))
        rows = Key(0).fold("digits").numpy().permutation(len(labels))
        val, train = np.sort(rows[: len(rows) // 5]), np.sort(rows[len(rows) // 5 :])
        names = tuple(str(digit) for digit in range(10))
        return Dataset("digits", names, whole.subset(train), whole.subset(val))
