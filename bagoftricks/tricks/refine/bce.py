from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from bagoftricks.recipe.edits import Logits, SetLoss, Targets
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(paper="Wightman et al. 2021 (arXiv:2110.00476); Beyer et al. 2020 (arXiv:2006.07159)")
class BCE:
    """Binary cross entropy: each class is a question of its own, -t_k log s(z_k) - (1 - t_k) log(1 - s(z_k)).

    s is the sigmoid. The targets are those of the step, mixed or smoothed; with a ``threshold``, every class above it
    has the target 1 and the others 0, so that both classes of a mixed image are right (and smoothing has no effect).
    over=sum adds the classes up (Beyer et al.), over=mean averages them (timm, which trains with LAMB, whose steps do
    not depend on the scale of the loss): with SGD, over=mean needs a larger learning rate by about the number of
    classes. Validation metrics are those of the softmax, as for every run.
    """

    threshold: float | None = None
    """target probability above which a class counts as right, in [0, 1); null: the probabilities are the targets"""
    over: Literal["sum", "mean"] = "sum"
    """sum or mean of the losses of an image's classes; the batch's loss is the mean over its images"""

    def __post_init__(self) -> None:
        require(self, "threshold", self.threshold is None or 0 <= self.threshold < 1, "in [0, 1), or null for none")
        require_choice(self, "over")

    def edits(self, task: Task) -> list[SetLoss]:
        return [SetLoss(loss=self.loss)]

    def loss(self, logits: Logits, targets: Targets) -> Tensor:
        """Return the mean loss of (B K) logits and (B K) target distributions."""
        if self.threshold is not None:
            targets = (targets > self.threshold).to(targets.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        return loss * logits.shape[1] if self.over == "sum" else loss
