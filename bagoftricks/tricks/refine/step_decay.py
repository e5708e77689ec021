from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, moments, require, trick


@trick(paper="He et al. 2019, section 2.1 (arXiv:1812.01187); Lee et al. 2020 (arXiv:2001.06268)")
class StepDecay:
    """Step decay: the learning rate multiplied by a factor at several times of the run.

    The times count from the start of the run, warm-up included, as in both papers' codes. The defaults are the
    baseline's own decay (epochs 30, 60 and 90 of 120); Assembled-CNN's code has 30 60 80 90 epochs. A boundary takes
    effect at its own step; in TensorFlow's piecewise_constant, one step later.
    """

    boundaries: str = "25% 50% 75%"
    """increasing times of the decays: '25% 50% 75%', '30 60 90 epochs' or '500 steps'"""
    factor: float = 0.1
    """factor of the learning rate at each boundary, in (0, 1]"""

    def __post_init__(self) -> None:
        require(self, "factor", 0 < self.factor <= 1, "in (0, 1]")

    def edits(self, task: Task) -> list[SetDecay]:
        boundaries = moments(self, "boundaries")

        def decay(step: int, steps: int) -> float:
            return self.factor ** sum(step >= boundary for boundary in boundaries(task.clock.length))

        return [SetDecay(decay=decay, origin=Origin.RUN_START)]
