from math import log

import torch
from torch import Tensor, nn

from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick

FLOOR = 1e-6  # least value that is raised to the power p


class GeneralisedMean(nn.Module):
    """Generalised mean (mean(x^p))^(1/p) over the map, x at least 1e-6: (B C H W) -> (B C) in fp32.

    Computed by logarithms: x^p itself leaves fp32's range for small x (1e-6 and p = 8), and then has no gradient.
    """

    p: Tensor

    def __init__(self, p: float, *, learnable: bool) -> None:
        super().__init__()
        exponent = torch.full((1,), p)
        if learnable:
            self.p = nn.Parameter(exponent)
        else:
            self.register_buffer("p", exponent, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logs = x.flatten(2).float().clamp(min=FLOOR).log()
        p = self.p.float().clamp(min=1)  # below 1, the least activations count most, and training fails
        return (((p * logs).logsumexp(2) - log(logs.shape[2])) / p).exp()


@trick(paper="Radenovic et al. 2018, section 3.2 (arXiv:1711.02512); Lee et al. 2020, section 4.4 (arXiv:2001.06268)")
class GeM:
    """Generalised mean pooling of the last map: (mean(x^p))^(1/p) instead of the mean.

    p = 1 is the mean; towards infinity it is the maximum. One p for all channels, learned as Radenovic et al. do;
    Assembled-CNN's image retrieval keeps it at 3. A learned p does not act below 1. Activations are clamped to 1e-6
    from below; computed in fp32. From scratch at a high learning rate, train with a warm-up or begin at p = 1.
    """

    p: float = 3.0
    """exponent p, or its initial value, 1 or more"""
    learnable: bool = True
    """learned p, decayed as the weights are (unless no_bias_decay is on)"""

    def __post_init__(self) -> None:
        require(self, "p", self.p >= 1, "1 or more (1 is the mean)")

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.HEAD_POOL, build=self.pool)]

    def pool(self) -> GeneralisedMean:
        return GeneralisedMean(self.p, learnable=self.learnable)
