from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Polyak and Juditsky 1992; Page 2019, How to Train Your ResNet 8")
class Ema:
    """Exponential moving average of the weights, evaluated too: a <- rho a + (1 - rho) w every few steps.

    The average starts from the initial weights, whose share after n updates is rho^n, and includes the running
    statistics of norms. Training and optimiser do not use it. Page applies 0.99 a step every fifth step, rho = 0.99^5;
    his notebook restarts the count in each epoch. For other intervals, keep the memory of every / (1 - rho) steps,
    about 100, well below the length of the run. With warmup, update n keeps min(rho, (1 + n) / (10 + n)), as in
    TensorFlow's ExponentialMovingAverage: the initial weights are soon forgotten, and rho can be close to 1.
    """

    later = ("warmup",)

    decay: float = 0.95099
    """share rho of the average that each update keeps, in [0, 1)"""
    every: int = 5
    """steps between updates"""
    warmup: bool = False
    """smaller share at the first updates, at most (1 + n) / (10 + n) at update n"""

    def __post_init__(self) -> None:
        require(self, "decay", 0 <= self.decay < 1, "in [0, 1)")
        require(self, "every", self.every > 0, "positive")

    def edits(self, task: Task) -> list[AverageWeights]:
        return [AverageWeights(weight=lambda update: 1 - self.kept(update), times=lambda: (0, self.every))]

    def kept(self, update: int) -> float:
        """Return the share of the average that an update, from 1, keeps."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay
