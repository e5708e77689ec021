"""Top-1, top-5 and cross entropy, every image counted exactly once."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bagoftricks.edits import Batch, Logits, Predict


def accuracy(predict: Predict, batches: Iterable[Batch]) -> dict[str, float]:
    """``top1`` and ``top5`` in percent and ``loss``, the mean cross entropy of the plain labels in nats.

    With fewer than five classes, top5 counts all of them. The sums stay on the device until the end.
    """
    sums: Tensor | None = None
    for batch in batches:
        counted = _sums(predict(batch.images), batch.targets)
        sums = counted if sums is None else sums + counted
    if sums is None:
        raise ValueError("there is no image to evaluate on")
    images, top1, top5, loss = sums.tolist()
    return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": loss / images}


def _sums(logits: Logits, targets: Tensor) -> Tensor:
    """(images, top-1 hits, top-5 hits, summed loss) of a batch, in double precision."""
    labels = targets.argmax(1)
    hits = logits.topk(min(5, logits.shape[1])).indices.eq(labels[:, None])
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([loss.new_tensor(len(labels)), hits[:, 0].sum(), hits.sum(), loss]).double()
