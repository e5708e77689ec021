from functools import partial

from bagoftricks.recipe.edits import AverageWeights, Origin, ScaleParams, SetDecay, SetOptimizer
from bagoftricks.recipe.schedule_free import ScheduleFree, averaged
from bagoftricks.recipe.trick import Task, require, trick


@trick(
    paper="Defazio et al. 2024, schedule-free SGD (arXiv:2405.15682)",
    warns={
        "ema": "schedule_free already averages the weights",
        "swa": "schedule_free already averages the weights",
        "lawa": "schedule_free already averages the weights",
        "lookahead": "schedule_free already averages the weights",
    },
)
class ScheduleFreeSgd:
    """Schedule-free SGD: a constant learning rate, and an average of the weights that is evaluated.

    z <- z - lr (g(y) + wd y), x <- (1 - c) x + c z, y = (1 - momentum) z + momentum x. The network trains at y ('last')
    and is evaluated at x ('schedule_free'), with norms whose statistics are measured there; c weighs each step by the
    square of the largest rate so far, so that a warm-up (+efficiency=warmup) counts less. No decay of the rate goes
    with it. The default rate is the baseline's lr / (1 - 0.9), the length of a step with momentum.
    """

    momentum: float = 0.9
    """share of the average x in the weights y at which the gradient is computed, in (0, 1)"""
    lr_factor: float = 10.0
    """learning rate as a multiple of lr"""

    def __post_init__(self) -> None:
        require(self, "momentum", 0 < self.momentum < 1, "in (0, 1)")
        require(self, "lr_factor", self.lr_factor > 0, "positive")

    def edits(self, task: Task) -> list[ScaleParams | SetDecay | SetOptimizer | AverageWeights]:
        return [
            ScaleParams(select=lambda module, name: True, lr=self.lr_factor),
            SetDecay(decay=lambda step, steps: 1.0, origin=Origin.RUN_START),
            SetOptimizer(build=partial(ScheduleFree, beta=self.momentum)),
            averaged(self.momentum),
        ]
