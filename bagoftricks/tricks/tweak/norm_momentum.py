from bagoftricks.recipe.edits import SetNormMomentum
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Lee et al. 2020, transfer learning (arXiv:2001.06268)")
class NormMomentum:
    """Momentum of batch norms: the share of their running statistics that each step keeps.

    r <- m r + (1 - m) s, with the statistics s of the step's batch: TensorFlow's sense, in which PyTorch's momentum is
    1 - m, and 0.9 (PyTorch's 0.1) is the default. Only evaluation changes. momentum=auto is Lee et
    al.'s rule for fine-tuning, max(1 - 10/s, 0.9) for s steps in an epoch: few steps forget faster. Up to 100 steps
    that is 0.9. Their training on ImageNet has 0.997.
    """

    momentum: str = "auto"
    """share m kept by each step, in [0, 1), or auto: from the steps in an epoch"""

    def __post_init__(self) -> None:
        require(self, "momentum", self.momentum == "auto" or self.is_share(), "auto, or a number in [0, 1)")

    def is_share(self) -> bool:
        """Return True if the momentum is written as a number in range."""
        try:
            return 0 <= float(self.momentum) < 1
        except ValueError:
            return False

    def edits(self, task: Task) -> list[SetNormMomentum]:
        if self.momentum != "auto":
            return [SetNormMomentum(share=round(1 - float(self.momentum), 12))]
        return [SetNormMomentum(share=lambda: min(10 / task.clock.length.steps_per_epoch, 0.1))]
