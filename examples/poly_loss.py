"""A trick in one file: PolyLoss."""

import torch.nn.functional as F
from torch import Tensor

from bagoftricks.recipe.edits import Logits, SetLoss, Targets
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Leng et al. 2022 (arXiv:2204.12511)", family="refine")
class PolyLoss:
    """Add a multiple of 1 - p to the cross entropy, p being the probability of the right class.

    Poly-1: -log p + epsilon (1 - p). With a distribution y as the target, p is the sum of y_k p_k over the classes.
    """

    epsilon: float = 2.0
    """factor of 1 - p; 0 is the cross entropy"""

    def __post_init__(self) -> None:
        require(self, "epsilon", self.epsilon > -1, "above -1, or the loss falls as the right class gets less likely")

    def edits(self, task: Task) -> list[SetLoss]:
        return [SetLoss(loss=self.loss)]

    def loss(self, logits: Logits, targets: Targets) -> Tensor:
        """Return the mean loss of (B K) logits and (B K) target distributions."""
        right = (targets * logits.softmax(1)).sum(1)
        return F.cross_entropy(logits, targets) + self.epsilon * (1 - right).mean()
