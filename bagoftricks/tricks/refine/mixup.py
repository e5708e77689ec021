from typing import Literal

import torch
from torch import Tensor

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, duration, require, require_choice, trick
from bagoftricks.rng import Key, send


@trick(paper="Zhang et al. 2018, equation 1 (arXiv:1710.09412); He et al. 2019, section 5.4; Lee et al. 2020, table 4")
class Mixup:
    """Mixup of images and targets: lambda x_i + (1 - lambda) x_j with lambda ~ Beta(alpha, alpha).

    partner=batch: one lambda for the batch, partners by a random permutation of it (Zhang et al.'s code; GluonCV
    reverses the batch instead). partner=second_batch: "type 1" of Assembled-CNN, which reads 2b images for b mixed
    ones and draws a lambda for each pair; the number of steps stays, so each epoch reads the data twice.
    partner=halves: its "type 2", b images to b: the first half mixed with the second, and again with the second in
    reverse order, every pair with its own lambda. (Its code mixes labels in place of a teacher's probabilities in the
    second half; this mistake is not repeated here.)
    """

    alpha: float = 0.2
    """shape of the Beta distribution; towards 0, nothing is mixed"""
    partner: Literal["batch", "second_batch", "halves"] = "batch"
    """source of the partners: batch; second_batch, which reads 2b images; halves, within the batch and in pairs"""
    unmixed_end: str = "0 epochs"
    """unmixed part at the end of the run: epochs, steps or % of the run (GluonCV's CIFAR recipe: 20 epochs)"""

    def __post_init__(self) -> None:
        require(self, "alpha", self.alpha > 0, "positive (leave mixup out to mix nothing)")
        require_choice(self, "partner")

    def edits(self, task: Task) -> list[MapBatch]:
        even = self.partner != "halves" or task.batch_size % 2 == 0
        require(self, "partner", even, f"batch or second_batch, for batch_size={task.batch_size} is odd")
        unmixed_end = duration(self, "unmixed_end")
        mixer = {"batch": self.mix_within, "second_batch": self.mix_pairs, "halves": self.mix_halves}[self.partner]
        reads = 2 if self.partner == "second_batch" else 1

        def mix(batch: Batch, key: Key) -> Batch:
            length = task.clock.length
            end = length.total_steps - unmixed_end(length)
            if end < length.total_steps and round(float(task.clock) * length.total_steps) >= end:
                return batch[: len(batch) // reads] if reads > 1 else batch
            return mixer(batch, key)

        return [MapBatch(phase=BatchPhase.MIX, apply=mix, reads=reads)]

    def mix_within(self, batch: Batch, key: Key) -> Batch:
        """Mix with one lambda and partners by a permutation: b images to b."""
        weight = float(key.fold("lambda").numpy().beta(self.alpha, self.alpha))
        partner = key.fold("partner").permutation(len(batch), batch.images.device)
        return batch.blend(batch[partner], weight)

    def mix_pairs(self, batch: Batch, key: Key) -> Batch:
        """Mix image i with image b + i, a lambda for each pair: 2b images to b."""
        half = len(batch) // 2
        return batch[:half].blend(batch[half : 2 * half], self.weights(half, key, batch.images.device))

    def mix_halves(self, batch: Batch, key: Key) -> Batch:
        """Mix image i with image b/2 + i, then with image b - 1 - i, a lambda for each pair: b images to b."""
        half, device = len(batch) // 2, batch.images.device
        first = torch.arange(half, device=device)
        second = first + half
        own, other = batch[first.repeat(2)], batch[torch.cat([second, second.flip(0)])]
        return own.blend(other, self.weights(2 * half, key, device))

    def weights(self, count: int, key: Key, device: torch.device) -> Tensor:
        """Draw ``count`` lambdas."""
        drawn = torch.from_numpy(key.fold("lambda").numpy().beta(self.alpha, self.alpha, count)).float()
        return send(drawn, device)
