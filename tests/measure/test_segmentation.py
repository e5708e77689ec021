"""Pixel accuracy and intersection over union, by hand and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bagoftricks.errors import DataError
from bagoftricks.measure.segmentation import class_ious, confusion_matrix, mean_iou, pixel_accuracy
from bagoftricks.recipe.edits import NO_CLASS
from tests.helpers import KEY


def test_two_rows_of_pixels_by_hand():
    masks = torch.tensor([[[0, 0, 1, 1], [2, 2, 255, 255]]], dtype=torch.uint8)
    predicted = torch.tensor([[[0, 1, 1, 1], [0, 2, 0, 3]]])
    matrix = confusion_matrix(predicted, masks, 5)
    assert matrix[:3, :3].tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert matrix.sum() == 6
    assert pixel_accuracy(matrix) == pytest.approx(100 * 4 / 6)
    # 1 of {2 in the mask, 2 predicted}, 2 of 3, 1 of 2; class 3 is predicted on void pixels only.
    assert class_ious(matrix)[:3].tolist() == pytest.approx([100 / 3, 200 / 3, 50])
    assert class_ious(matrix)[3:].isnan().all()
    assert mean_iou(matrix) == pytest.approx(50)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(0, 2))
def test_scores_are_those_of_scikit_learn_batch_by_batch(seed, classes, unused):
    rng = KEY.fold("segmentation", seed).numpy()
    masks = rng.integers(0, classes, (3, 4, 5))
    predicted = np.where(rng.random(masks.shape) < 0.6, masks, rng.integers(0, classes + unused, masks.shape))
    masks[rng.random(masks.shape) < 0.2] = NO_CLASS
    parts = zip(torch.from_numpy(predicted).split(2), torch.from_numpy(masks).to(torch.uint8).split(2), strict=True)
    matrix = sum(confusion_matrix(*part, classes + unused) for part in parts)
    counted = masks != NO_CLASS
    true, guessed = masks[counted], predicted[counted]
    labels = range(classes + unused)
    assert (matrix.numpy() == metrics.confusion_matrix(true, guessed, labels=labels)).all()
    assert pixel_accuracy(matrix) == pytest.approx(100 * metrics.accuracy_score(true, guessed))
    assert mean_iou(matrix) == pytest.approx(100 * metrics.jaccard_score(true, guessed, average="macro"))


def test_without_a_pixel_there_is_no_score():
    masks = torch.full((1, 2, 2), NO_CLASS)
    matrix = confusion_matrix(torch.zeros(1, 2, 2, dtype=torch.int64), masks, 3)
    assert math.isnan(pixel_accuracy(matrix))
    assert math.isnan(mean_iou(matrix))


@pytest.mark.parametrize("label", [3, 7, 254])
def test_a_label_that_is_no_class_is_refused(label):
    masks = torch.tensor([[[0, label]]])
    with pytest.raises(DataError, match=rf"^a mask has the label {label}: labels are below 3, or 255 for no class$"):
        confusion_matrix(torch.tensor([[[0, 2]]]), masks, 3)
