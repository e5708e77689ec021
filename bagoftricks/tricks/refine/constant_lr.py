from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Li et al. 2020 (arXiv:1905.04753)")
class ConstantLr:
    """Constant learning rate after the warm-up: the control of every decay."""

    def edits(self, task: Task) -> list[SetDecay]:
        return [SetDecay(decay=lambda step, steps: 1.0, origin=Origin.WARMUP_END)]
