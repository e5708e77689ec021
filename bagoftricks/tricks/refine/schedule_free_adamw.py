from functools import partial

from bagoftricks.recipe.edits import AverageWeights, Origin, ScaleParams, SetDecay, SetOptimizer
from bagoftricks.recipe.schedule_free import ScheduleFree, averaged
from bagoftricks.recipe.trick import Task, require, trick


@trick(
    paper="Defazio et al. 2024, algorithm 1 (arXiv:2405.15682)",
    warns={
        "ema": "schedule_free_adamw already averages the weights",
        "swa": "schedule_free_adamw already averages the weights",
        "lawa": "schedule_free_adamw already averages the weights",
        "lookahead": "schedule_free_adamw already averages the weights",
    },
)
class ScheduleFreeAdamW:
    """Schedule-free AdamW: a constant learning rate, and an average of the weights that is evaluated.

    As schedule_free, with the gradient divided by the root of its running mean square; beta1 interpolates instead of
    averaging gradients. lr and weight_decay stay those of SGD: the factors below turn 0.1 into 0.0025 and leave
    lr x weight_decay, the shrinkage of a step, as it was.
    """

    beta1: float = 0.9
    """share of the average x in the weights y at which the gradient is computed, in (0, 1)"""
    beta2: float = 0.999
    """decay rate of the running mean of the squared gradients, in [0, 1)"""
    eps: float = 1e-8
    """constant added to the root of the mean square"""
    lr_factor: float = 0.025
    """learning rate as a multiple of lr"""
    weight_decay_factor: float = 40.0
    """weight decay as a multiple of weight_decay"""

    def __post_init__(self) -> None:
        require(self, "beta1", 0 < self.beta1 < 1, "in (0, 1)")
        require(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        require(self, "eps", self.eps > 0, "positive")
        require(self, "lr_factor", self.lr_factor > 0, "positive")
        require(self, "weight_decay_factor", self.weight_decay_factor >= 0, "0 or more")

    def edits(self, task: Task) -> list[ScaleParams | SetDecay | SetOptimizer | AverageWeights]:
        return [
            ScaleParams(select=lambda module, name: True, lr=self.lr_factor, weight_decay=self.weight_decay_factor),
            SetDecay(decay=lambda step, steps: 1.0, origin=Origin.RUN_START),
            SetOptimizer(build=partial(ScheduleFree, beta=self.beta1, beta2=self.beta2, eps=self.eps)),
            averaged(self.beta1),
        ]
