from functools import cache
from typing import Literal

import torch
from torch import Tensor

from bagoftricks.recipe.edits import Logits, SetLoss, Targets
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(
    paper="Cui et al. 2019, section 4 (arXiv:1901.05555)",
    warns={"balanced_sampling": "rare classes are favoured twice, in the batches and in the loss"},
)
class ClassWeights:
    """Class weights: a cross entropy that counts rare classes more, -sum_k w_k t_k log p_k.

    n_k is the number of training images of class k. method=inverse: w_k ~ 1 / n_k. method=effective: w_k ~ 1 / E_k with
    the effective number of images E_k = (1 - beta^n_k) / (1 - beta), which is n_k for a rare class and at most
    1 / (1 - beta): classes of more images count alike. The weights are scaled to a mean of 1 over the training
    images (Cui et al.: over the classes), and the loss is the mean over the batch, whatever its classes: the learning
    rate keeps its meaning. A class without training images has weight 0.

    Targets are those of the step: smoothed or mixed ones are weighted class by class. Terms that other tricks add to
    the loss (distillation) are not weighted. Validation metrics never are.
    """

    method: Literal["effective", "inverse"] = "effective"
    """effective number of images, or inverse number of images"""
    beta: float = 0.999
    """share of what an image adds to a class that the next one still adds, in (0, 1); with method=effective"""

    def __post_init__(self) -> None:
        require_choice(self, "method")
        require(self, "beta", 0 < self.beta < 1, "in (0, 1)")

    def edits(self, task: Task) -> list[SetLoss]:
        weights = self.weights(torch.tensor(task.class_counts or [1] * task.num_classes, dtype=torch.float64))

        @cache
        def on(device: torch.device) -> Tensor:
            return weights.float().to(device)

        def loss(logits: Logits, targets: Targets) -> Tensor:
            return -(targets * on(logits.device) * logits.log_softmax(1)).sum(1).mean()

        return [SetLoss(loss=loss)]

    def weights(self, counts: Tensor) -> Tensor:
        """Return the weight of each class from its number of training images: (K,) -> (K,) in fp64."""
        numbers = counts if self.method == "inverse" else -torch.expm1(counts * torch.tensor(self.beta).double().log())
        raw = torch.where(counts > 0, 1 / numbers, 0.0)
        return raw * counts.sum() / (raw * counts).sum()
