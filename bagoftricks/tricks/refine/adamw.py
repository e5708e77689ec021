from functools import partial

from bagoftricks.recipe.edits import ScaleParams, SetOptimizer
from bagoftricks.recipe.optimizers import LightAdamW
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Loshchilov and Hutter 2019, algorithm 2 (arXiv:1711.05101)")
class AdamW:
    """AdamW: steps scaled by the running size of each weight's gradients, with decoupled weight decay.

    lr and weight_decay stay those of SGD: the factors below turn 0.1 into 0.001 and 1e-4 into 0.01. A step shrinks
    the weights by lr x weight_decay, outside of the gradient (it is not an L2 penalty); the default factors leave this
    product as it was.
    """

    beta1: float = 0.9
    """decay rate of the running mean of the gradients, in [0, 1)"""
    beta2: float = 0.999
    """decay rate of the running mean of the squared gradients, in [0, 1)"""
    eps: float = 1e-8
    """constant added to the root of the mean square"""
    lr_factor: float = 0.01
    """learning rate as a multiple of lr"""
    weight_decay_factor: float = 100.0
    """weight decay as a multiple of weight_decay"""

    def __post_init__(self) -> None:
        require(self, "beta1", 0 <= self.beta1 < 1, "in [0, 1)")
        require(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        require(self, "eps", self.eps > 0, "positive")
        require(self, "lr_factor", self.lr_factor > 0, "positive")
        require(self, "weight_decay_factor", self.weight_decay_factor >= 0, "0 or more")

    def edits(self, task: Task) -> list[ScaleParams | SetOptimizer]:
        return [
            ScaleParams(select=lambda module, name: True, lr=self.lr_factor, weight_decay=self.weight_decay_factor),
            SetOptimizer(build=partial(LightAdamW, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)),
        ]
