from functools import partial

from bagoftricks.recipe.edits import SetOptimizer
from bagoftricks.recipe.optimizers import LightSgd
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Sutskever et al. 2013 (PMLR 28); Lee et al. 2020 (arXiv:2001.06268)")
class Sgd:
    """SGD with plain momentum instead of the baseline's Nesterov momentum: v <- mu v + g + wd w, w <- w - lr v.

    Assembled-CNN's code trains this way. nesterov=true is the baseline: w <- w - lr (g + wd w + mu v).
    """

    momentum: float = 0.9
    """momentum mu, in [0, 1)"""
    nesterov: bool = False
    """Nesterov momentum: steps along g + mu v instead of v"""

    def __post_init__(self) -> None:
        require(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)")
        require(self, "nesterov", self.momentum > 0 or not self.nesterov, "false where momentum=0")

    def edits(self, task: Task) -> list[SetOptimizer]:
        return [
            SetOptimizer(build=partial(LightSgd, momentum=self.momentum, nesterov=self.nesterov, fused=True)),
        ]
