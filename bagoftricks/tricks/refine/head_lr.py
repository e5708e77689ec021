from torch import nn

from bagoftricks.recipe.edits import ScaleParams, depth_of
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Long et al. 2015, section 4.1 (arXiv:1502.02791)")
class HeadLr:
    """Learning rate of the head: lr x factor, for a new head on a network that is trained already.

    The head is the last linear layer, weight and bias. Factors multiply: no_bias_decay, linear_scaling and layer_decay
    hold for it as well.
    """

    factor: float = 10.0
    """factor of the learning rate of the last linear layer, above 0"""

    def __post_init__(self) -> None:
        require(self, "factor", self.factor > 0, "positive (to leave the head as it is, there is no trick)")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=is_head, lr=self.factor)]


def is_head(module: nn.Module, name: str) -> bool:
    depth = depth_of(module, name)
    return depth is not None and depth.in_head
