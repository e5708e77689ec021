from bagoftricks.recipe.edits import Origin, SetDecay
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="You et al. 2017, section 5 (arXiv:1708.03888)")
class PolynomialDecay:
    """Polynomial decay of the learning rate: (1 - s/S)^power of its peak at step s of S.

    s and S count from the end of the warm-up. With a final share f: f + (1 - f) (1 - s/S)^power. power=1 is a line.
    """

    power: float = 2.0
    """exponent: 2 in LARS, 0.9 for segmentation (Chen et al. 2018, arXiv:1606.00915)"""
    final: float = 0.0
    """share of the peak learning rate just after the last step, in [0, 1]"""

    def __post_init__(self) -> None:
        require(self, "power", self.power > 0, "positive")
        require(self, "final", 0 <= self.final <= 1, "in [0, 1]")

    def edits(self, task: Task) -> list[SetDecay]:
        def decay(step: int, steps: int) -> float:
            return self.final + float((1 - self.final) * (1 - step / steps) ** self.power)

        return [SetDecay(decay=decay, origin=Origin.WARMUP_END)]
