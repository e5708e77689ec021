"""Predictions of single images, and what they show beyond a mean: classes, confusions, calibration and mistakes.

N images, K outputs of the network, k most probable classes that are kept.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from bagoftricks.measure.accuracy import BINS, confidence_bins
from bagoftricks.recipe.edits import Images, Logits, Predict

TOP5 = 5  # classes that the scores look at
Numbers: TypeAlias = Int64[np.ndarray, " N"]


@dataclass(frozen=True)
class Predictions:
    """Most probable classes of N images, the first one first, with their probabilities in [0, 1]."""

    classes: Int64[np.ndarray, "N k"]
    probabilities: Float64[np.ndarray, "N k"]

    @property
    def first(self) -> Numbers:
        """Class that is predicted for each image."""
        return self.classes[:, 0]

    @property
    def confidence(self) -> Float64[np.ndarray, " N"]:
        """Probability of the predicted class."""
        return self.probabilities[:, 0]


class Recorder:
    """Function from images to logits that keeps the ``top`` most probable classes of every image it was given."""

    def __init__(self, predict: Predict, top: int = 1) -> None:
        self.predict, self.top = predict, top
        self.kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, images: Images) -> Logits:
        logits = self.predict(images)
        outputs = logits.shape[1]
        # As many as the scores look at: of equal logits, the first one depends on the number that is asked for.
        best = logits.topk(min(max(self.top, TOP5), outputs)).indices[:, : self.top]
        self.kept.append((best, logits.double().softmax(1).gather(1, best)))
        return logits

    def predictions(self) -> Predictions:
        """Return the predictions of all images so far. Raises ValueError without any."""
        classes, probabilities = (torch.cat(parts).cpu().numpy() for parts in zip(*self.kept, strict=True))
        return Predictions(classes, probabilities)


@dataclass(frozen=True)
class Confusion:
    """Number of images of class ``label`` for which class ``predicted`` was predicted."""

    label: int
    predicted: int
    images: int


def confusions(labels: Numbers, predicted: Numbers) -> list[Confusion]:
    """Return the pairs of classes that occur, right ones included, by label and then by prediction."""
    pairs, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    return [Confusion(*each) for each in zip(*pairs.tolist(), counts.tolist(), strict=True)]


@dataclass(frozen=True)
class ClassScore:
    """Images of one class, and the wrong class that was predicted for most of them."""

    number: int
    images: int
    right: int
    confused_with: int | None = None
    confused_images: int = 0

    @property
    def top1(self) -> float | None:
        """Accuracy in percent, None without images."""
        return 100 * self.right / self.images if self.images else None


def class_scores(found: list[Confusion], classes: int) -> list[ClassScore]:
    """Return the score of each class. Of wrong classes with equal counts, the first one is named."""
    images, right = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    most: dict[int, Confusion] = {}
    for each in found:
        images[each.label] += each.images
        if each.label == each.predicted:
            right[each.label] = each.images
        elif each.label not in most or each.images > most[each.label].images:
            most[each.label] = each
    return [
        ClassScore(number, count, hits, *((most[number].predicted, most[number].images) if number in most else ()))
        for number, (count, hits) in enumerate(zip(images.tolist(), right.tolist(), strict=True))
    ]


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose confidence lies in (low, high]; their mean confidence and accuracy, None without images."""

    low: float
    high: float
    images: int
    confidence: float | None = None
    accuracy: float | None = None


def calibration(confidence: Float64[np.ndarray, " N"], right: np.ndarray) -> list[CalibrationBin]:
    """Return the bins of the calibration error; ``right`` (N,) is true where the prediction was."""
    bins = confidence_bins(torch.from_numpy(confidence)).numpy()
    images, sums, hits = (np.bincount(bins, each, BINS) for each in (None, confidence, right))
    return [
        CalibrationBin(m / BINS, (m + 1) / BINS, int(n), *((sums[m] / n, hits[m] / n) if n else ()))
        for m, n in enumerate(images)
    ]


def worst_mistakes(predictions: Predictions, labels: Numbers, count: int) -> list[int]:
    """Return the numbers of at most ``count`` images with a wrong prediction, the most confident one first."""
    wrong = np.flatnonzero(predictions.first != labels)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    return wrong[order][:count].tolist()  # type: ignore[no-any-return]
