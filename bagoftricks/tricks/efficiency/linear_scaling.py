from bagoftricks.recipe.edits import ScaleParams
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Goyal et al. 2017, section 2.1 (arXiv:1706.02677); He et al. 2019, section 3.1")
class LinearScaling:
    """Learning rate proportional to the batch: lr x b / 256, b the images of one update over all devices."""

    base_batch: int = 256
    """the batch size at which lr is used as it is"""

    def __post_init__(self) -> None:
        require(self, "base_batch", self.base_batch > 0, "positive")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=lambda module, name: True, lr=task.batch_size / self.base_batch)]
