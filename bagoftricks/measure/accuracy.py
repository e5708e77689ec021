"""Top-1, top-5, cross entropy and calibration, every image counted exactly once."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bagoftricks.distributed import ALONE, World
from bagoftricks.recipe.edits import Batch, Logits, Predict

SCORES = ("top1", "top5", "loss", "ece")
BINS = 15  # bins of the confidence in the calibration error (Guo et al. 2017, section 2)


def accuracy(predict: Predict, batches: Iterable[Batch], world: World = ALONE) -> dict[str, float]:
    """Return ``top1`` and ``top5`` in percent, ``loss``, the mean cross entropy of the labels in nats, and ``ece``.

    ``ece`` is the expected calibration error in percent: the mean over images of the gap between confidence and
    accuracy within their bin, of fifteen equal bins of the highest probability (Guo et al. 2017, equation 3).
    With fewer than five classes, top5 counts all of them. The sums stay on the device until the end.

    Each rank has whole batches of its own. The sums of the batches are added without rounding, so they are the same to
    the last bit for any number of ranks.
    """
    counted = [_sums(predict(batch.images), batch.targets) for batch in batches]
    every = [row for rows in world.all_gather_object(torch.stack(counted).tolist() if counted else []) for row in rows]
    if not every:
        raise ValueError("no image to evaluate on: the validation split is empty")
    images, top1, top5, loss, *gaps = (math.fsum(column) for column in zip(*every, strict=True))
    ece = math.fsum(map(abs, gaps))
    return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": loss / images, "ece": 100 * ece / images}


def confidence_bins(confidence: Tensor) -> Tensor:
    """Return the bin, from 0, of each probability: bin m of M holds (m/M, (m + 1)/M]."""
    return (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)


def _sums(logits: Logits, targets: Tensor) -> Tensor:
    """Return (images, top-1 hits, top-5 hits, summed loss, confidence minus hits in each bin) of a batch, in fp64."""
    labels = targets.argmax(1)
    hits = logits.topk(min(5, logits.shape[1])).indices.eq(labels[:, None])
    loss = F.cross_entropy(logits, labels, reduction="sum")
    confidence = logits.double().softmax(1).amax(1)
    gaps = confidence.new_zeros(BINS).index_add_(0, confidence_bins(confidence), confidence - hits[:, 0].double())
    return torch.cat([torch.stack([loss.new_tensor(len(labels)), hits[:, 0].sum(), hits.sum(), loss]).double(), gaps])
