from typing import Literal

from torch import nn

from bagoftricks.models.layers import ConvNormAct, Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require_choice, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, max-pooling")
class EarlyPool:
    """Early max-pool: right after the convolution, so norm and activation see a quarter of the positions.

    position=before_activation (convolution, norm, pool, activation) gives the output of the unchanged network, bit for
    bit: the maximum of a monotone activation is the activation of the maximum. position=before_norm, Page's second step
    and the default, is another network: the norm sees maxima only, and its scale may turn negative after them.
    """

    position: Literal["before_norm", "before_activation"] = "before_norm"
    """position of the pool: before_norm, or before_activation (which changes the speed alone)"""

    def __post_init__(self) -> None:
        require_choice(self, "position")

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.POOLED_CONV, build=self.build)]

    def build(self, c_in: int, c_out: int, site: Site) -> nn.Sequential:
        """Return a module that maps (B c_in H W) to (B c_out H/2 W/2)."""
        conv, norm, act = ConvNormAct(c_in, c_out, 3, 1, site)
        pool = nn.MaxPool2d(2)
        return nn.Sequential(*((conv, pool, norm, act) if self.position == "before_norm" else (conv, norm, pool, act)))
