import torch
from torch import Tensor

from bagoftricks.recipe.edits import GradPhase, MapGrads
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Yong et al. 2020, equation 1 (arXiv:2004.01461)")
class GradientCentralization:
    """Gradient centralisation: the gradient of each output channel's weights minus its mean.

    g <- g - mean(g) over inputs and kernel positions, of convolutions and linear layers; gradients of vectors (norms,
    biases) stay as they are. It acts on the gradient of the loss, before clipping, momentum and weight decay.
    """

    def edits(self, task: Task) -> list[MapGrads]:
        return [MapGrads(phase=GradPhase.CENTRE, apply=centralise)]


@torch.no_grad()
def centralise(grads: list[Tensor]) -> None:
    """Subtract from each row of each matrix or kernel its mean, in place."""
    matrices = [grad for grad in grads if grad.ndim > 1]
    if matrices:
        torch._foreach_sub_(matrices, [grad.mean(tuple(range(1, grad.ndim)), keepdim=True) for grad in matrices])
