from torch import nn

from bagoftricks.recipe.edits import ScaleParams
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, frozen batch norm scales")
class BiasScale:
    """Batch norm biases with 64 times the learning rate and a 64th of the weight decay.

    With norm scales fixed at 1 instead of about 1/4, biases are 4 times as large and their gradients a fourth, so an
    equivalent step needs 16 times the rate; Page found 64 to do better. The decay shrinks by the same factor, which
    keeps their product. Only norms are scaled: the bias of the linear head keeps its rate (Page's network has none),
    and so do those of convolutions by default; airbench scales the bias of its whitened patches as those of the norms.
    """

    lr: float = 64.0
    """factor of the biases' learning rate, above 0"""
    decay: float = 0.015625
    """factor of the biases' weight decay, 0 or more"""
    convolutions: bool = False
    """biases of convolutions too"""

    def __post_init__(self) -> None:
        require(self, "lr", self.lr > 0, "positive")
        require(self, "decay", self.decay >= 0, "0 or more")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=self.is_chosen, lr=self.lr, weight_decay=self.decay)]

    def is_chosen(self, module: nn.Module, name: str) -> bool:
        kinds = (nn.modules.batchnorm._BatchNorm, *([nn.modules.conv._ConvNd] if self.convolutions else []))
        return name == "bias" and isinstance(module, kinds)
