"""A trick in one file: focal loss."""

from torch import Tensor

from bagoftricks.recipe.edits import Logits, SetLoss, Targets
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Lin et al. 2017 (arXiv:1708.02002)", family="refine")
class FocalLoss:
    """Count an image less the surer the network is of it: the cross entropy of class k times (1 - p_k)^gamma.

    With a distribution y as the target, the loss is -sum_k y_k (1 - p_k)^gamma log p_k.
    """

    gamma: float = 2.0
    """exponent of 1 - p, 1 or more"""

    def __post_init__(self) -> None:
        require(self, "gamma", self.gamma >= 1, "1 or more: below, the gradient of a sure image has no bound")

    def edits(self, task: Task) -> list[SetLoss]:
        return [SetLoss(loss=self.loss)]

    def loss(self, logits: Logits, targets: Targets) -> Tensor:
        """Return the mean loss of (B K) logits and (B K) target distributions."""
        log_p = logits.log_softmax(1)
        return -(targets * (1 - log_p.exp()) ** self.gamma * log_p).sum(1).mean()
