import torch
from torch import Tensor

from bagoftricks.recipe.edits import GradPhase, MapGrads
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Pascanu et al. 2013, algorithm 1 (arXiv:1211.5063)")
class ClipGradients:
    """Gradient clipping by the norm of the gradient of all parameters together."""

    norm: float = 1.0
    """largest L2 norm of the gradient, with all parameters in one vector"""

    def __post_init__(self) -> None:
        require(self, "norm", self.norm > 0, "positive")

    def edits(self, task: Task) -> list[MapGrads]:
        return [MapGrads(phase=GradPhase.CLIP, apply=self.clip)]

    @torch.no_grad()
    def clip(self, grads: list[Tensor]) -> None:
        """Scale ``grads`` in place. The factor stays on the device; 1e-6 as in PyTorch, so a gradient of 0 stays 0."""
        length = torch.nn.utils.get_total_norm(grads)
        torch._foreach_mul_(grads, (self.norm / (length + 1e-6)).clamp(max=1.0))
