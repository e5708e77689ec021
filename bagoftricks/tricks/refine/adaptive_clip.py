import torch
from torch import Tensor, nn

from bagoftricks.recipe.edits import GradPhase, MapGrads, depth_of
from bagoftricks.recipe.optimizers import unit_norms
from bagoftricks.recipe.trick import Task, require, trick


@trick(
    paper="Brock et al. 2021, equation 3 (arXiv:2102.06171)",
    warns={"clip_gradients": "each limits the gradient by itself: compare them in separate arms"},
)
class AdaptiveClip:
    """Adaptive gradient clipping: each unit's gradient at most a share of the norm of the unit's weights.

    g_i <- g_i clip max(|w_i|, eps) / |g_i| where |g_i| is larger than that; unit i is an output channel's weights, or a
    whole vector (norms, biases). As in the paper, the last linear layer is left out.
    """

    clip: float = 0.01
    """largest norm of a gradient relative to that of its weights (paper: 0.01 for batches of 4096, more for smaller)"""
    eps: float = 1e-3
    """norm that weights of a smaller norm, such as zeros, are taken to have"""

    def __post_init__(self) -> None:
        require(self, "clip", self.clip > 0, "positive")
        require(self, "eps", self.eps > 0, "positive")

    def edits(self, task: Task) -> list[MapGrads]:
        return [MapGrads(phase=GradPhase.CLIP, apply=self.limit, select=before_head)]

    @torch.no_grad()
    def limit(self, grads: list[Tensor], params: list[Tensor]) -> None:
        """Scale each unit of ``grads`` that is too long, in place; nothing is read from the device."""
        for grad, param in zip(grads, params, strict=True):
            longest = unit_norms(param).clamp_(min=self.eps).mul_(self.clip)
            grad.mul_(longest.div_(unit_norms(grad).clamp_(min=1e-6)).clamp_(max=1.0))


def before_head(module: nn.Module, name: str) -> bool:
    """Return True for a parameter before the last linear layer."""
    depth = depth_of(module, name)
    return depth is None or not depth.in_head
