from torch import nn

from bagoftricks.recipe.edits import ScaleParams
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, frozen batch norm scales")
class BiasScale:
    """Give the biases of batch norms 64 times the learning rate and a 64th of the weight decay.

    With norm scales fixed at 1 where 1/4 would do, biases are 4 times as large, and a step that does the same needs
    the gradient, a fourth, times 16; Page found 64 to do better. The decay shrinks by as much, so that their product
    stays what it was. Norms only: a bias of the linear head keeps its rate (Page's network has none), and so does one
    of a convolution unless it is asked for: airbench trains that of its whitened patches as those of the norms.
    """

    lr: float = 64.0
    """factor of the learning rate"""
    decay: float = 0.015625
    """factor of the weight decay"""
    convolutions: bool = False
    """the biases of convolutions too"""

    def __post_init__(self) -> None:
        require(self, "lr", self.lr > 0, "positive")
        require(self, "decay", self.decay >= 0, "0 or more")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=self.is_chosen, lr=self.lr, weight_decay=self.decay)]

    def is_chosen(self, module: nn.Module, name: str) -> bool:
        kinds = (nn.modules.batchnorm._BatchNorm, *([nn.modules.conv._ConvNd] if self.convolutions else []))
        return name == "bias" and isinstance(module, kinds)
