"""The digits are scikit-learn's, without it."""

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
    for split, which in [(data.val, rows[: len(rows) // 5]), (data.train, rows[len(rows) // 5 :])]:
        assert (split.labels == labels[np.sort(which)]).all()
        grey = torch.from_numpy(np.rint(pixels[np.sort(which)] * (255 / 16)).astype(np.uint8)).view(-1, 8, 8)
        assert all(torch.equal(split.images[:, channel], grey) for channel in range(3))
