from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.trick import Task, require, trick


@trick(
    paper="Zhang et al. 2019, algorithm 1 (arXiv:1907.08610); Jordan 2024, section 3.4 (arXiv:2404.00498)",
    warns={
        "ema": "a second average of the weights: lookahead's own copy is one",
        "swa": "a second average of the weights: lookahead's own copy is one",
    },
)
class Lookahead:
    """Every few steps, move a slow copy of the weights towards the trained ones, and go on training from it.

    s <- s + a (w - s), w <- s: Zhang et al. with a = 1/2 and every = 5 or so. Jordan lets the share of the slow copy
    grow as that of an average, a = 1 - decay^every (t / T)^power at step t of T, so that the first steps are nearly
    plain training and the last ones average: the default, with airbench's numbers. power=0 keeps a constant:
    decay=0.87055 is a = 1/2. Running statistics of norms are averaged too; the optimiser's momentum goes on as it is.
    What is evaluated is the slow copy.
    """

    decay: float = 0.95
    """share of the slow copy that stays in one step, at the end of the run"""
    every: int = 5
    """steps between updates"""
    power: float = 3.0
    """how late the averaging sets in: 0 at once"""

    def __post_init__(self) -> None:
        require(self, "decay", 0 < self.decay < 1, "in (0, 1)")
        require(self, "every", self.every > 1, "2 or more")
        require(self, "power", self.power >= 0, "0 or more")

    def edits(self, task: Task) -> list[AverageWeights]:
        def weight(update: int) -> float:
            progress = min(1.0, update * self.every / task.clock.length.total_steps)
            return float(1 - self.decay**self.every * progress**self.power)

        return [AverageWeights(weight=weight, times=lambda: (0, self.every), pull=True)]
