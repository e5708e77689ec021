import math

import torch
from torch import Tensor

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key


@trick(paper="Yun et al. 2019, section 3.1 (arXiv:1905.04899)")
class Cutmix:
    """CutMix: a box of another image pasted into each one, and targets mixed by the share of pixels.

    The box has the image's shape and 1 - lambda of its area, lambda ~ Beta(alpha, alpha). Its centre is uniform over
    the pixels, so it is clipped at the border, and lambda becomes the share that the image really keeps: its mean at
    alpha = 1 is 0.68, not 0.5. One box and one permutation serve the batch, as in the released code; the targets and a
    teacher's probabilities take the exact share. ``switch`` uses mixup instead on some of the steps, as timm does.
    """

    alpha: float = 1.0
    """shape of the Beta distribution of the share that an image keeps"""
    probability: float = 1.0
    """share of the steps that are mixed, in (0, 1]; the released code's CIFAR setting is 0.5"""
    switch: float = 0.0
    """share of the mixed steps that use mixup instead of a box, in [0, 1)"""
    mixup_alpha: float = 0.2
    """shape of mixup's Beta distribution, used if ``switch`` is above 0"""

    def __post_init__(self) -> None:
        require(self, "alpha", self.alpha > 0, "positive (leave cutmix out to mix nothing)")
        require(self, "probability", 0 < self.probability <= 1, "in (0, 1] (leave cutmix out to mix nothing)")
        require(self, "switch", 0 <= self.switch < 1, "in [0, 1) (for 1, use +refine=mixup)")
        require(self, "mixup_alpha", self.mixup_alpha > 0, "positive")

    def edits(self, task: Task) -> list[MapBatch]:
        return [MapBatch(phase=BatchPhase.MIX, apply=self.mix)]

    def mix(self, batch: Batch, key: Key) -> Batch:
        """Mix a batch. All is drawn on the host, so nothing waits for the device."""
        mixes, switches = key.fold("switch").numpy().random(2)
        if mixes >= self.probability:
            return batch
        partner = key.fold("partner").permutation(len(batch), batch.images.device)
        if switches < self.switch:
            kept = float(key.fold("lambda").numpy().beta(self.mixup_alpha, self.mixup_alpha))
            return batch.blend(batch[partner], kept)
        height, width = batch.images.shape[2:]
        return paste(batch, partner, *box(key, self.alpha, height, width))


def box(key: Key, alpha: float, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of the clipped box, in pixels."""
    draws = key.fold("box").numpy()
    side = math.sqrt(1 - draws.beta(alpha, alpha))
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(draws.integers(height)), int(draws.integers(width))
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    return top, bottom, left, right


def paste(batch: Batch, partner: Tensor, top: int, bottom: int, left: int, right: int) -> Batch:
    """Return the batch with the box of each image's partner in it; leave ``batch`` unchanged."""
    height, width = batch.images.shape[2:]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    images = batch.images.clone()
    images[:, :, top:bottom, left:right] = batch.images[:, :, top:bottom, left:right][partner]

    def share(rows: Tensor) -> Tensor:
        return torch.lerp(rows[partner], rows, kept)

    return Batch(images, share(batch.targets), None if batch.teacher is None else share(batch.teacher))
