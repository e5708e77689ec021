from bagoftricks.recipe.edits import SplitBatch
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Goyal et al. 2017, section 3 (arXiv:1706.02677)")
class MicroBatch:
    """Compute each update's gradient a few images at a time, for batches that do not fit into memory.

    The gradient is the mean over the whole batch, so learning rates stay as they are. Batch norm sees the
    micro-batches: its statistics are those of fewer images, as with as many devices or with ghost norm.
    """

    images: int = 64
    """images at a time; the last micro-batch may have fewer"""

    def __post_init__(self) -> None:
        require(self, "images", self.images > 0, "positive")

    def edits(self, task: Task) -> list[SplitBatch]:
        return [SplitBatch(images=self.images)]
