from typing import Literal

import torch

from bagoftricks.edits import Batch, BatchPhase, MapBatch
from bagoftricks.rng import Key
from bagoftricks.trick import Task, require, require_choice, trick


@trick(paper="Zhang et al. 2018, equation 1 (arXiv:1710.09412); He et al. 2019, section 5.4; Lee et al. 2020, table 4")
class Mixup:
    """Train on lambda x_i + (1 - lambda) x_j and the same mixture of the targets, lambda ~ Beta(alpha, alpha).

    partner=batch: one lambda for the batch, partners by a random permutation of it (Zhang et al.'s code; GluonCV
    reverses the batch instead). partner=second_batch: "type 1" of Assembled-CNN, which reads 2b images for b mixed
    ones and draws a lambda for each pair; the number of steps stays, so each epoch reads the data twice.
    """

    alpha: float = 0.2
    """shape of the Beta distribution; towards 0, nothing is mixed"""
    partner: Literal["batch", "second_batch"] = "batch"
    """batch, or second_batch: the pair form that reads 2b images"""

    def __post_init__(self) -> None:
        require(self, "alpha", self.alpha > 0, "positive (leave mixup out to mix nothing)")
        require_choice(self, "partner")

    def edits(self, task: Task) -> list[MapBatch]:
        if self.partner == "batch":
            return [MapBatch(phase=BatchPhase.MIX, apply=self.mix_within)]
        return [MapBatch(phase=BatchPhase.MIX, apply=self.mix_pairs, reads=2)]

    def mix_within(self, batch: Batch, key: Key) -> Batch:
        """One lambda, partners by a permutation: b images to b."""
        weight = float(key.fold("lambda").numpy().beta(self.alpha, self.alpha))
        device = batch.images.device
        partner = torch.randperm(len(batch), generator=key.fold("partner").generator(device), device=device)
        return batch.blend(batch[partner], weight)

    def mix_pairs(self, batch: Batch, key: Key) -> Batch:
        """A lambda for each pair, image i with image b + i: 2b images to b."""
        half = len(batch) // 2
        weights = torch.from_numpy(key.fold("lambda").numpy().beta(self.alpha, self.alpha, half)).float()
        return batch[:half].blend(batch[half : 2 * half], weights.to(batch.images.device, non_blocking=True))
