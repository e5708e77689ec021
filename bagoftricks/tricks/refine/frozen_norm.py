from torch import nn

from bagoftricks.recipe.edits import FreezeParams, FreezeStatistics, depth_of
from bagoftricks.recipe.trick import Task, trick


@trick(
    paper="Ren et al. 2015, as released with ResNets (arXiv:1506.01497); He et al. 2017, section 3.1 (arXiv:1703.06870)"
)
class FrozenNorm:
    """Batch norms of the backbone as fixed scales and shifts: they keep their statistics, gamma and beta.

    The usual choice where an image is large and the batch has few of them, so that statistics of the batch are noise: a
    norm computes gamma (x - mean) / sqrt(var + eps) + beta with the numbers of the starting weights. Norms of new heads
    are trained. In classification, all norms before the last linear layer are frozen. Without model.weights the numbers
    are those of the start, and nothing normalises. ghost_norm is the other way: statistics of a chosen group of images.
    """

    def edits(self, task: Task) -> list[FreezeParams | FreezeStatistics]:
        return [FreezeParams(select=of_backbone_norm, any_start=True), FreezeStatistics(select=of_backbone_norm)]


def of_backbone_norm(module: nn.Module, name: str) -> bool:
    depth = depth_of(module, name)
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and depth is not None and not depth.in_head
