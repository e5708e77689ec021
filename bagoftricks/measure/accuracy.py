"""Top-1, its smooth form, top-5, cross entropy and calibration, every image counted exactly once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bagoftricks.distributed import ALONE, World
from bagoftricks.recipe.edits import Batch, Logits, Predict

NO_IMAGES = np.zeros(0, np.bool_)
BINS = 15  # bins of the confidence in the calibration error (Guo et al. 2017, section 2)
SOFTNESS = 0.3  # of soft top-1: the width of its step, in standard deviations of the margins


@dataclass(frozen=True)
class Measured:
    """Scores of a network, and whether its prediction was right, for each image in the order of the batches.

    ``correct`` is empty where a prediction is neither right nor wrong.
    """

    scores: dict[str, float]
    correct: npt.NDArray[np.bool_]


def accuracy(predict: Predict, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the scores of ``measure_images``, of all batches in one process."""
    return measure_images(predict, enumerate(batches)).scores


def measure_images(predict: Predict, numbered: Iterable[tuple[int, Batch]], world: World = ALONE) -> Measured:
    """Return the scores of batches that come with their numbers in the split, and which images were right.

    ``top1`` and ``top5`` in percent, ``loss``, the mean cross entropy of the labels in nats, ``ece`` and ``soft_top1``.
    ``ece`` is the expected calibration error in percent: the mean over images of the gap between confidence and
    accuracy within their bin, of fifteen equal bins of the highest probability (Guo et al. 2017, equation 3).
    With fewer than five classes, top5 counts all of them. Sums and margins stay on the device until the end.

    Each rank has whole batches of its own. The sums of the batches are added without rounding, and margins stand in the
    order of the split, so all scores are the same to the last bit for any number of ranks. Raises ValueError without
    any image.
    """
    judged = [(number, *_judged(predict(batch.images), batch.targets)) for number, batch in numbered]
    every = [row for rows in world.all_gather_object(_on_host(judged)) for row in rows]
    if not every:
        raise ValueError("no image to evaluate on: the validation split is empty")
    every.sort(key=lambda row: row[0])
    _, sums, parts = zip(*every, strict=True)
    images, top1, top5, loss, *gaps = (math.fsum(column) for column in zip(*sums, strict=True))
    margins, right = np.concatenate(parts, axis=1)
    scores = {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": loss / images}
    scores |= {"ece": 100 * math.fsum(map(abs, gaps)) / images, "soft_top1": soft_top1(margins)}
    return Measured(scores, right == 1)


def soft_top1(margins: npt.NDArray[np.float64]) -> float:
    """Return the mean of Phi(margin / (SOFTNESS * sd)) in percent; sd is the standard deviation of the margins.

    A margin is the logit of the right class minus the highest other one. Without a spread, the step is a sharp one:
    a margin of 0 counts half. NaN if a margin is not finite.
    """
    if not np.isfinite(margins).all():
        return math.nan
    width = SOFTNESS * float(margins.std())
    steps = margins / (width * math.sqrt(2)) if width else np.copysign(math.inf, margins)
    steps[margins == 0] = 0
    return 50 * math.fsum(map(math.erfc, (-steps).tolist())) / len(margins)


def confidence_bins(confidence: Tensor) -> Tensor:
    """Return the bin, from 0, of each probability: bin m of M holds (m/M, (m + 1)/M]."""
    return (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)


def _judged(logits: Logits, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of a batch and its (2, B) margins and hits, in fp64 on the device.

    The sums are (images, top-1 hits, top-5 hits, summed loss, confidence minus hits in each bin).
    """
    labels = targets.argmax(1)[:, None]
    best, classes = logits.topk(min(5, logits.shape[1]))
    hits = classes.eq(labels)
    right = hits[:, 0].double()
    loss = F.cross_entropy(logits, labels[:, 0], reduction="sum")
    confidence = logits.double().softmax(1).amax(1)
    gaps = confidence.new_zeros(BINS).index_add_(0, confidence_bins(confidence), confidence - right)
    sums = torch.stack([loss.new_tensor(len(labels)), hits[:, 0].sum(), hits.sum(), loss]).double()
    highest_other = torch.where(hits[:, 0], best[:, :2][:, -1], best[:, 0]).double()
    margins = logits.gather(1, labels)[:, 0].double() - highest_other
    return torch.cat([sums, gaps]), torch.stack([margins, right])


Judged = tuple[int, list[float], npt.NDArray[np.float64]]  # number of a batch, its sums, its margins and hits


def _on_host(judged: Sequence[tuple[int, Tensor, Tensor]]) -> list[Judged]:
    """Return what ``_judged`` made of numbered batches as plain values: the only wait for the device."""
    if not judged:
        return []
    numbers, sums, parts = zip(*judged, strict=True)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    each = np.split(torch.cat(parts, 1).cpu().numpy(), ends, axis=1)
    return list(zip(numbers, torch.stack(sums).tolist(), each, strict=True))
