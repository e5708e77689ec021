from torch import nn

from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Barron 2017 (arXiv:1704.07483); Page 2019, How to Train Your ResNet 8: Bag of Tricks, CELU")
class Celu:
    """CELU in place of ReLU: max(0, x) + min(0, alpha (exp(x / alpha) - 1)).

    Its derivative is continuous, 1 at 0; its least value is -alpha. CELU with 4 alpha at 4 x is 4 times CELU with
    alpha at x: with frozen_norm_scale, which fixes the norms' scales at 1 where they would be near 1/4, Page takes
    alpha = 0.3. That value is not set automatically: type tricks.celu.alpha=0.3.
    """

    alpha: float = 0.075
    """negative of the activation's least value, above 0; towards 0, ReLU"""

    def __post_init__(self) -> None:
        require(self, "alpha", self.alpha > 0, "positive (leave celu out for ReLU)")

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.ACT, build=lambda: nn.CELU(self.alpha, inplace=True))]
