"""The digits are scikit-learn's, read without it."""

import subprocess
import sys

import numpy as np
import torch
from sklearn.datasets import load_digits

from bagoftricks.data import find_dataset
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings


def test_the_digits_are_those_of_scikit_learn():
    data = find_dataset(dataset_settings("digits"))
    pixels, labels = load_digits(return_X_y=True)
    rows = Key(0).fold("digits").numpy().permutation(len(labels))
    train = np.sort(rows[len(rows) // 5 :])
    assert (data.train.labels == labels[train]).all()
    grey = torch.from_numpy(np.rint(pixels[train] * (255 / 16)).astype(np.uint8)).view(-1, 8, 8)
    assert all(torch.equal(data.train.images[:, channel], grey) for channel in range(3))


def test_scikit_learn_is_not_imported_for_them():
    code = (
        "import sys; from bagoftricks.data import find_dataset; from bagoftricks.settings import dataset_settings\n"
        "find_dataset(dataset_settings('digits')); sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
