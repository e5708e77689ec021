from typing import Literal

from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, require_choice, trick


class BranchDrop(nn.Module):
    """Layer that zeroes the residual branch of some samples and divides the others by the survival probability."""

    def __init__(self, survival: float, task: Task, place: str) -> None:
        super().__init__()
        self.survival, self.task, self.place = survival, task, place

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        survives = self.task.noise.uniform(len(x), 1, 1, 1, device=x.device, place=self.place) < self.survival
        return x / self.survival * survives  # by a number, then by a mask: exact in half precision, and no copy is kept


@trick(paper="Huang et al. 2016, section 3 (arXiv:1603.09382)")
class StochasticDepth:
    """Stochastic depth: residual branches skipped at random in training; block l of L survives with 1 - rate l/L.

    A sample's branch is either zero or divided by its survival probability, so nothing changes at test time; the paper
    skips a block for a whole mini-batch and multiplies at test time instead, with the same expectation. Its rate is
    0.5, for networks of over 100 blocks or 1200 layers. Blocks are counted over all stages; big_little's branches count
    in parallel.
    """

    rate: float = 0.2
    """probability that the last block is skipped, in [0, 1)"""
    mode: Literal["linear", "uniform"] = "linear"
    """skip probability by depth: linear, growing up to rate; uniform, rate in every block"""

    def __post_init__(self) -> None:
        require(self, "rate", 0 <= self.rate < 1, "in [0, 1)")
        require_choice(self, "mode")

    def survival(self, block: int, blocks: int) -> float:
        """Return the probability that the branch of block 0, 1 ... of ``blocks`` is used."""
        return 1 - self.rate * ((block + 1) / blocks if self.mode == "linear" else 1)

    def edits(self, task: Task) -> list[SetPart]:
        def build(site: Site) -> nn.Module:
            survival = self.survival(site.block, site.blocks)
            return nn.Identity() if survival == 1 else BranchDrop(survival, task, site.path)

        return [SetPart(part=Part.BRANCH, build=build)]
