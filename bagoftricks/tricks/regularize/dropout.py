from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


class FeatureDrop(nn.Module):
    """``nn.Dropout`` with keyed draws."""

    def __init__(self, rate: float, task: Task, place: str) -> None:
        super().__init__()
        self.rate, self.task, self.place = rate, task, place

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = self.task.noise.uniform(*x.shape, device=x.device, place=self.place) >= self.rate
        return x / (1 - self.rate) * kept


@trick(paper="Hinton et al. 2012 (arXiv:1207.0580); Srivastava et al. 2014, section 4")
class Dropout:
    """Dropout of the features before the classifier; the others are divided by 1 - rate in training.

    The papers multiply the weights by 1 - rate at test time instead, with the same expectation. Lee et al. 2020 prefer
    dropblock in ResNets; Inception-V3 has dropout.
    """

    rate: float = 0.5
    """probability that a feature is dropped, in [0, 1)"""

    def __post_init__(self) -> None:
        require(self, "rate", 0 <= self.rate < 1, "in [0, 1)")

    def edits(self, task: Task) -> list[SetPart]:
        def build(site: Site) -> nn.Module:
            return nn.Identity() if self.rate == 0 else FeatureDrop(self.rate, task, site.path)

        return [SetPart(part=Part.HEAD_DROP, build=build)]
