import torch.nn.functional as F
from torch import Tensor

from bagoftricks.recipe.edits import Logits, SetLoss, Targets
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Leng et al. 2022 (arXiv:2204.12511)")
class PolyLoss:
    """Poly-1: the cross entropy and epsilon times 1 - p, p being the probability of the right class.

    -log p is the series of (1 - p)^j / j over j = 1, 2 ...: epsilon is added to the factor of its first term. With a
    distribution t as the target, p is the sum of t_k p_k over the classes and -log p the cross entropy.
    """

    epsilon: float = 1.0
    """factor of 1 - p, above -1; 0 is the cross entropy"""

    def __post_init__(self) -> None:
        require(self, "epsilon", self.epsilon > -1, "above -1, or the loss falls as the right class gets less likely")

    def edits(self, task: Task) -> list[SetLoss]:
        return [SetLoss(loss=self.loss)]

    def loss(self, logits: Logits, targets: Targets) -> Tensor:
        """Return the mean loss of (B K) logits and (B K) target distributions."""
        right = (targets * logits.softmax(1)).sum(1)
        return F.cross_entropy(logits, targets) + self.epsilon * (1 - right).mean()
