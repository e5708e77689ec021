from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, duration, require, trick


@trick(paper="Szegedy et al. 2016, section 8 (arXiv:1512.00567); He et al. 2019, section 5.1")
class ExponentialDecay:
    """Exponential decay of the learning rate: times 0.94 every 2 epochs from the end of the warm-up.

    After n periods: factor^n, a staircase; with continuous=true, n is not rounded down. It is the default decay of
    Assembled-CNN.
    """

    factor: float = 0.94
    """factor of the learning rate per period, in (0, 1]"""
    every: str = "2 epochs"
    """length of a period: epochs, steps or % of the run"""
    continuous: bool = False
    """decay at every step instead of once per period"""

    def __post_init__(self) -> None:
        require(self, "factor", 0 < self.factor <= 1, "in (0, 1]")

    def edits(self, task: Task) -> list[SetDecay]:
        period = duration(self, "every", least=1)

        def decay(step: int, steps: int) -> float:
            every = period(task.clock.length)
            return self.factor ** (step / every if self.continuous else step // every)

        return [SetDecay(decay=decay, origin=Origin.WARMUP_END)]
