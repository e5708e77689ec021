from bagoftricks.recipe.edits import SplitBatch
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Goyal et al. 2017, section 3 (arXiv:1706.02677)")
class MicroBatch:
    """Gradient accumulation: a few images at a time, for batches that do not fit into memory.

    The gradient is the mean over the whole batch, so learning rates stay as they are. Batch norm sees the
    micro-batches: its statistics are those of fewer images, as with several devices or with ghost norm.
    """

    images: int = 64
    """images per micro-batch; the last one may have fewer"""

    def __post_init__(self) -> None:
        require(self, "images", self.images > 0, "positive")

    def edits(self, task: Task) -> list[SplitBatch]:
        return [SplitBatch(images=self.images)]
