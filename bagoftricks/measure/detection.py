"""Average precision of detections, by the rules of Pascal VOC and of COCO.

A box is (x1, y1, x2, y2) in pixels; its area is (x2 - x1)(y2 - y1), whereas VOC's own code counts whole pixels, both
ends included. The overlap of two boxes is their intersection over their union. N detections and M objects of one image,
T thresholds of the overlap, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from bagoftricks.data.sources import DIFFICULT

VOC_THRESHOLD = 0.5
COCO_THRESHOLDS = tuple(i / 100 for i in range(50, 100, 5))
COCO_POINTS, COCO_MOST = 101, 100  # recalls at which precision is read; detections of a class in an image that count
WRONG, RIGHT, NOT_COUNTED = 0, 1, -1


@dataclass(frozen=True)
class GroundTruth:
    """Objects of one image. Those that are ``difficult`` need not be found, and finding them is no mistake."""

    boxes: Float[np.ndarray, "M 4"]
    labels: Int[np.ndarray, " M"]
    difficult: Bool[np.ndarray, " M"]


@dataclass(frozen=True)
class Detections:
    """Detections in one image; the higher the score, the surer."""

    boxes: Float[np.ndarray, "N 4"]
    labels: Int[np.ndarray, " N"]
    scores: Float[np.ndarray, " N"]

    def by_score(self, most: int | None = None) -> "Detections":
        """Return the detections, the surest first, and of each class at most ``most``."""
        rows = np.argsort(-self.scores, kind="stable")
        if most is not None:
            labels = self.labels[rows]
            surer = np.tril(labels[:, None] == labels, -1).sum(1)
            rows = rows[surer < most]
        return Detections(self.boxes[rows], self.labels[rows], self.scores[rows])


Pairs = Sequence[tuple[Detections, GroundTruth]]  # of each image


def ground_truth_of(targets: Float[np.ndarray, "M 5"]) -> GroundTruth:
    """Return the objects of rows (x1, y1, x2, y2, class): padding below 0, difficult from DIFFICULT on."""
    rows = targets[targets[:, 4] >= 0]
    labels = rows[:, 4].astype(np.int64)
    return GroundTruth(rows[:, :4], labels % DIFFICULT, labels >= DIFFICULT)


def voc_map(images: Pairs, classes: int, *, points: int | None = None) -> float:
    """Return VOC's mean average precision in percent, at an overlap of 0.5 or more (Everingham et al. 2010).

    ``points=11`` is the rule of VOC 2007: the mean over recalls 0, 0.1 ... 1 of the highest precision at that recall or
    a higher one. By default, the rule since VOC 2010: the area under that envelope. A detection is compared with the
    object that it overlaps most; if another detection has found that one, it is wrong. Classes without an object are
    left out; NaN without any.
    """
    found = [(d.by_score(), objects) for d, objects in images]
    judged = [_match_voc(*each) for each in found]
    return _mean_precision(found, judged, classes, points)


def coco_map(images: Pairs, classes: int) -> float:
    """Return COCO's AP in percent: the mean over overlaps of 0.50, 0.55 ... 0.95 (Lin et al. 2014).

    Precision is read at 101 recalls, and 100 detections of a class in an image count. A detection is compared with the
    objects that no surer one has found. Objects of all sizes; ``difficult`` ones do not count, and crowds
    are not known.
    """
    found = [(d.by_score(COCO_MOST), objects) for d, objects in images]
    judged = [_match_coco(*each) for each in found]
    return _mean_precision(found, judged, classes, COCO_POINTS)


def box_ious(first: Float[np.ndarray, "N 4"], second: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """Return the intersection over union of each pair of boxes, 0 for two boxes without an area."""
    corners = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    inside = corners.clip(min=0).prod(2)
    (areas, others) = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second))
    union = areas[:, None] + others - inside
    shares: Float[np.ndarray, "N M"] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return shares


def average_precision(right: Bool[np.ndarray, " N"], objects: int, points: int | None = None) -> float:
    """Return the average precision in [0, 1] of detections in the order of their scores.

    The mean of the precision's envelope at ``points`` recalls from 0 to 1, or by default the area under it.
    """
    hits = right.cumsum()
    envelope = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    if points is None:
        return float(envelope[right].sum() / objects)
    needed = -(-np.arange(points) * objects // (points - 1))  # hits for each recall, in whole numbers
    places = np.searchsorted(hits, needed)
    return float(np.append(envelope, 0)[places].mean())


def _mean_precision(found: Pairs, judged: Sequence[Any], classes: int, points: int | None) -> float:
    """Return the mean over classes and thresholds; ``judged`` has (T, N) per image, in the order of the detections."""
    scores = np.concatenate([d.scores for d, _ in found])
    order = np.argsort(-scores, kind="stable")
    labels = np.concatenate([d.labels for d, _ in found])[order]
    outcomes = np.concatenate(judged, axis=1)[:, order]
    objects = np.bincount(np.concatenate([o.labels[~o.difficult] for _, o in found]), minlength=classes)
    precisions = [
        average_precision(row[row != NOT_COUNTED] == RIGHT, int(objects[c]), points)
        for c in np.flatnonzero(objects)
        for row in outcomes[:, labels == c]
    ]
    return 100 * float(np.mean(precisions)) if precisions else float("nan")


def _alike(found: Detections, objects: GroundTruth) -> Float[np.ndarray, "N M"]:
    """Return overlaps, -1 for an object of another class."""
    return np.where(found.labels[:, None] == objects.labels, box_ious(found.boxes, objects.boxes), -1.0)


def _match_voc(found: Detections, objects: GroundTruth) -> Int8[np.ndarray, "1 N"]:
    outcomes, taken = np.full(len(found.scores), WRONG, np.int8), np.zeros(len(objects.labels), bool)
    for i, row in enumerate(_alike(found, objects) if len(taken) else ()):
        best = row.argmax()
        if row[best] >= VOC_THRESHOLD and objects.difficult[best]:
            outcomes[i] = NOT_COUNTED
        elif row[best] >= VOC_THRESHOLD and not taken[best]:
            outcomes[i], taken[best] = RIGHT, True
    return outcomes[None]


def _match_coco(found: Detections, objects: GroundTruth) -> Int8[np.ndarray, "T N"]:
    thresholds = np.array(COCO_THRESHOLDS)
    outcomes = np.full((len(thresholds), len(found.scores)), WRONG, np.int8)
    taken = np.zeros((len(thresholds), len(objects.labels)), bool)
    for i, row in enumerate(_alike(found, objects) if taken.size else ()):
        free = (row >= thresholds[:, None]) & ~taken
        best = np.where(free, row - 2 * objects.difficult, -np.inf).argmax(1)  # a difficult one comes last
        hit = free.any(1)
        taken[hit, best[hit]] = True
        outcomes[hit, i] = np.where(objects.difficult[best[hit]], NOT_COUNTED, RIGHT)
    return outcomes
