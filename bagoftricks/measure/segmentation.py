"""Scores of a segmentation from the number of pixels of each pair of classes.

K classes; rows of a matrix are the classes of the masks, columns those that were predicted.
"""

import math

import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from bagoftricks.errors import DataError
from bagoftricks.recipe.edits import NO_CLASS


def confusion_matrix(
    predicted: Int64[Tensor, "B H W"], masks: Integer[Tensor, "B H W"], classes: int
) -> Int64[Tensor, "K K"]:
    """Return the number of pixels of each pair of classes, on the device; those of NO_CLASS are left out.

    The matrix of a data set is the sum of those of its batches. Raises DataError for any other label.
    """
    labels = masks.long()
    pairs = torch.where(labels == NO_CLASS, 0, 1 + labels * classes + predicted)  # 0: not counted
    counts = torch.bincount(pairs.flatten(), minlength=1 + classes**2)
    if len(counts) > 1 + classes**2:
        label = (len(counts) - 2) // classes
        raise DataError(f"a mask has the label {label}: labels are below {classes}, or {NO_CLASS} for no class")
    return counts[1:].view(classes, classes)


def pixel_accuracy(matrix: Int64[Tensor, "K K"]) -> float:
    """Return the share of pixels whose class was predicted, in percent; NaN without a pixel."""
    pixels = int(matrix.sum())
    return 100 * int(matrix.trace()) / pixels if pixels else math.nan


def class_ious(matrix: Int64[Tensor, "K K"]) -> Float64[Tensor, " K"]:
    """Return the intersection over union of each class in percent: |A and B| / |A or B| over all pixels counted.

    NaN for a class that occurs neither in a mask nor in a prediction.
    """
    right = matrix.diagonal()
    return 100 * right.double() / (matrix.sum(0) + matrix.sum(1) - right)


def mean_iou(matrix: Int64[Tensor, "K K"]) -> float:
    """Return the mean of ``class_ious`` in percent, over the classes that occur in a mask or a prediction.

    A class that is predicted and in no mask counts 0, as in scikit-learn's jaccard_score of the labels that occur.
    """
    return float(class_ious(matrix).nanmean())
