"""Predictions image by image: what the scores are the means of."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from bagoftricks.measure.accuracy import BINS, accuracy
from bagoftricks.measure.predictions import (
    ClassScore,
    Confusion,
    Predictions,
    Recorder,
    calibration,
    class_scores,
    confusions,
    worst_mistakes,
)
from bagoftricks.recipe.edits import Batch
from tests.helpers import KEY

CLASSES, IMAGES = 7, 200


@pytest.fixture
def labelled():
    rng = KEY.fold("predictions").numpy()
    labels = rng.integers(0, CLASSES - 1, IMAGES)  # no image of the last class
    return labels, np.where(rng.random(IMAGES) < 0.5, labels, rng.integers(0, CLASSES, IMAGES))


def test_confusions_are_those_of_scikit_learn(labelled):
    labels, predicted = labelled
    matrix = np.zeros((CLASSES, CLASSES), int)
    for each in confusions(labels, predicted):
        assert each.images > 0
        matrix[each.label, each.predicted] = each.images
    assert (matrix == confusion_matrix(labels, predicted, labels=range(CLASSES))).all()


def test_a_class_has_its_accuracy_and_the_class_it_is_most_often_taken_for():
    found = [Confusion(0, 0, 3), Confusion(0, 1, 1), Confusion(0, 2, 2), Confusion(1, 0, 5), Confusion(1, 2, 5)]
    scores = class_scores(found, 3)
    assert scores == [ClassScore(0, 6, 3, 2, 2), ClassScore(1, 10, 0, 0, 5), ClassScore(2, 0, 0)]
    assert [score.top1 for score in scores] == [50, 0, None]


def test_bins_of_confidence_by_hand():
    bins = calibration(np.array([0.05, 1 / 15, 0.51, 0.53, 1.0]), np.array([False, True, True, False, True]))
    assert len(bins) == BINS
    assert [(each.images, each.confidence, each.accuracy) for each in bins if each.images] == [
        (2, pytest.approx((0.05 + 1 / 15) / 2), 0.5),
        (2, pytest.approx(0.52), 0.5),
        (1, 1.0, 1.0),
    ]
    assert [at for at, each in enumerate(bins) if each.images] == [0, 7, 14]
    assert [(each.low, each.high) for each in (bins[0], bins[14])] == [(0, 1 / 15), (14 / 15, 1)]
    assert bins[3].confidence is None


def test_the_worst_mistakes_are_the_most_confident_ones():
    found = Predictions(np.array([[0], [1], [1], [0]]), np.array([[0.6], [0.99], [0.7], [0.9]]))
    assert worst_mistakes(found, np.array([1, 1, 0, 1]), 2) == [3, 2]
    assert worst_mistakes(found, np.array([0, 1, 1, 0]), 2) == []


def test_recorded_predictions_have_the_top1_and_the_calibration_error_of_the_scores():
    rng = KEY.fold("logits").generator()
    logits = (3 * torch.randn(IMAGES, CLASSES, generator=rng)).round()  # with ties
    labels = torch.randint(CLASSES, (IMAGES,), generator=rng)
    images = torch.zeros(IMAGES, 3, 1, 1)
    parts = iter(logits.split(64))
    recorder = Recorder(lambda images: next(parts), top=3)
    batches = [Batch(i, torch.eye(CLASSES)[r]) for i, r in zip(images.split(64), labels.split(64), strict=True)]
    scores = accuracy(recorder, batches)
    found = recorder.predictions()
    right = found.first == labels.numpy()
    assert 100 * right.mean() == pytest.approx(scores["top1"], abs=1e-12)
    gaps = [b.images * abs(b.confidence - b.accuracy) for b in calibration(found.confidence, right) if b.images]
    assert 100 * sum(gaps) / IMAGES == pytest.approx(scores["ece"])
    assert found.classes.shape == (IMAGES, 3)
    best = np.sort(logits.double().softmax(1).numpy(), axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(found.probabilities, best)
