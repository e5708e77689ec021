"""The digits of scikit-learn."""

from importlib.metadata import distribution

import numpy as np
import torch

from bagoftricks.data.sources import Dataset, MemorySplit
from bagoftricks.registry import dataset
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

DIGITS_CSV = "sklearn/datasets/data/digits.csv.gz"  # 64 pixels and the label of an image in each line


@dataset(name="digits")
class Digits(DataSettings):
    """scikit-learn's 1,797 handwritten digits (UCI, 8x8, 17 grey levels): a fixed fifth of them for validation."""

    def find(self) -> Dataset:
        # The file itself: to import scikit-learn takes a second and 80 MiB, in each process that trains.
        table = np.loadtxt(str(distribution("scikit-learn").locate_file(DIGITS_CSV)), delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1]
        grey = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
        colours = grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        whole = MemorySplit(colours, labels.astype(np.int64))
        rows = Key(0).fold("digits").numpy().permutation(len(labels))
        val, train = np.sort(rows[: len(rows) // 5]), np.sort(rows[len(rows) // 5 :])
        names = tuple(str(digit) for digit in range(10))
        return Dataset("digits", names, whole.subset(train), whole.subset(val))
