from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.trick import Task, require, trick


@trick(
    paper="Zhang et al. 2019, algorithm 1 (arXiv:1907.08610); Jordan 2024, section 3.4 (arXiv:2404.00498)",
    warns={
        "ema": "lookahead already averages the weights",
        "swa": "lookahead already averages the weights",
    },
)
class Lookahead:
    """Lookahead: slow weights that follow the trained ones every few steps, and from which training continues.

    s <- s + a (w - s), w <- s; Zhang et al. have a = 1/2 and every = 5 or so. In Jordan's form, the default with
    airbench's numbers, a = 1 - decay^every (t / T)^power at step t of T: the first steps are nearly plain training, and
    the last ones average. power=0 keeps a constant: decay=0.87055 is a = 1/2. Running statistics of norms are averaged
    too; the optimiser's momentum is kept. The slow weights are those that are evaluated.
    """

    decay: float = 0.95
    """share of the slow weights kept per step at the end of the run, in (0, 1)"""
    every: int = 5
    """steps between updates"""
    power: float = 3.0
    """exponent of the schedule: 0 averages at once, larger values later in the run"""

    def __post_init__(self) -> None:
        require(self, "decay", 0 < self.decay < 1, "in (0, 1)")
        require(self, "every", self.every > 1, "2 or more")
        require(self, "power", self.power >= 0, "0 or more")

    def edits(self, task: Task) -> list[AverageWeights]:
        def weight(update: int) -> float:
            progress = min(1.0, update * self.every / task.clock.length.total_steps)
            return float(1 - self.decay**self.every * progress**self.power)

        return [AverageWeights(weight=weight, times=lambda: (0, self.every), pull=True)]
