from bagoftricks.recipe.edits import SetWarmup
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Goyal et al. 2017, section 2.2 (arXiv:1706.02677); He et al. 2019, section 3.1")
class Warmup:
    """Linear warm-up of the learning rate over the first m steps: step i of 1..m uses i/m of it.

    The decay begins where the warm-up ends (a step decay keeps its absolute epochs). The papers' codes start at
    exactly 0 instead, which wastes one step.
    """

    epochs: float = 5.0
    """length of the warm-up in epochs"""
    max_share: float = 0.2
    """largest length as a share of the run, for runs much shorter than the papers' 120 epochs"""

    def __post_init__(self) -> None:
        require(self, "epochs", self.epochs > 0, "positive")
        require(self, "max_share", 0 < self.max_share <= 1, "in (0, 1]")

    def edits(self, task: Task) -> list[SetWarmup]:
        def steps() -> int:
            length = task.clock.length
            return max(1, round(min(self.epochs * length.steps_per_epoch, self.max_share * length.total_steps)))

        return [SetWarmup(steps=steps, factor=lambda step, steps: (step + 1) / steps)]
