from bagoftricks.recipe.edits import ScaleParams
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Goyal et al. 2017, section 2.1 (arXiv:1706.02677); He et al. 2019, section 3.1")
class LinearScaling:
    """Linear scaling of the learning rate: lr x b / 256 for an update of b images over all devices."""

    base_batch: int = 256
    """batch size at which lr is used unscaled"""

    def __post_init__(self) -> None:
        require(self, "base_batch", self.base_batch > 0, "positive")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=lambda module, name: True, lr=task.batch_size / self.base_batch)]
