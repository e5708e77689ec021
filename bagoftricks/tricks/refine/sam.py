from collections.abc import Callable

import torch
from torch import Tensor, nn

from bagoftricks.recipe.edits import SetGradient
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Foret et al. 2021, algorithm 1 (arXiv:2010.01412)")
class Sam:
    """Sharpness-aware minimisation: the gradient at w + rho g/|g|, the worst point nearby, instead of at w.

    |g| is the norm over all parameters, and every parameter moves. Each step costs two evaluations, of the same batch
    with the same draws; the reported loss is the first one. Running statistics of norms are those of the first
    evaluation, at the weights that are kept. g/|g| does not depend on the scale of a scaled loss.
    """

    rho: float = 0.05
    """distance rho from the weights to the worst point, 0 or more"""

    def __post_init__(self) -> None:
        require(self, "rho", self.rho >= 0, "0 or more")

    def edits(self, task: Task) -> list[SetGradient]:
        return [SetGradient(compute=self.compute)]

    def compute(self, model: nn.Module, backward: Callable[[], None]) -> None:
        """Fill .grad with the gradient at the worst point; leave weights and buffers as after the first evaluation."""
        backward()
        params: list[Tensor] = [p for p in model.parameters() if p.grad is not None]
        grads = [p.grad for p in params if p.grad is not None]
        buffers = list(model.buffers())
        kept = [tensor.detach().clone() for tensor in (*params, *buffers)]
        with torch.no_grad():
            uphill = torch._foreach_mul(grads, self.rho / (torch.nn.utils.get_total_norm(grads) + 1e-12))
            torch._foreach_add_(params, list(uphill))
        torch._foreach_zero_(grads)
        backward()
        with torch.no_grad():
            for tensor, before in zip((*params, *buffers), kept, strict=True):
                tensor.copy_(before)
