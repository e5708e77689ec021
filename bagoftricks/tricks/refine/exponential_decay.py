from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, duration, require, trick


@trick(paper="Szegedy et al. 2016, section 8 (arXiv:1512.00567); He et al. 2019, section 5.1")
class ExponentialDecay:
    """Multiply the learning rate by 0.94 every 2 epochs, counted from the end of the warm-up.

    After n periods: factor^n, a staircase; with continuous=true, n is not rounded down. Assembled-CNN's default decay.
    """

    factor: float = 0.94
    """what the learning rate is multiplied by in each period"""
    every: str = "2 epochs"
    """length of a period: epochs, steps or % of the run"""
    continuous: bool = False
    """decay at every step instead of at once after each period"""

    def __post_init__(self) -> None:
        require(self, "factor", 0 < self.factor <= 1, "in (0, 1]")

    def edits(self, task: Task) -> list[SetDecay]:
        period = duration(self, "every", least=1)

        def decay(step: int, steps: int) -> float:
            every = period(task.clock.length)
            return self.factor ** (step / every if self.continuous else step // every)

        return [SetDecay(decay=decay, origin=Origin.WARMUP_END)]
