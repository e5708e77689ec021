from torch import nn

from bagoftricks.recipe.edits import FreezeParams, Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, frozen batch norm scales")
class FrozenNormScale:
    """Batch norms with scales gamma fixed at 1; a network's own factor of its logits is halved.

    Between a norm with a fixed scale g and the next norm, act_a(g x + b) = g act_{a/g}(x + b/g), and the next norm
    removes the outer g. Page's scales had settled near 1/4, so his fixed 1 goes with three more changes, which are not
    made here: CELU with 4 alpha (tricks.celu.alpha=0.3), and norm biases with 16, better 64, times the learning rate
    and a 16th, a 64th of the decay (bias_scale). The logits' factor becomes 1/16 from 1/8, not 1/32: the last scales
    were nearer to 1/2. A gamma that starts at 0 would stay there: not with zero_gamma.
    """

    logit_scale: float = 0.5
    """factor of the network's own factor of its logits, if it has one (model=resnet9)"""

    def __post_init__(self) -> None:
        require(self, "logit_scale", self.logit_scale > 0, "positive")

    def edits(self, task: Task) -> list[FreezeParams | SetPart]:
        return [
            FreezeParams(select=is_gamma),
            SetPart(part=Part.LOGIT_SCALE, build=lambda scale: scale * self.logit_scale, optional=True),
        ]


def is_gamma(module: nn.Module, name: str) -> bool:
    return name == "weight" and isinstance(module, nn.modules.batchnorm._BatchNorm)
