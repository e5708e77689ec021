from typing import Literal

from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, require_choice, trick


class BranchDrop(nn.Module):
    """Zeroes the residual branch of some samples, and divides that of the others by the share that survives."""

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
    """Skip residual branches at random while training: block l of L survives with 1 - rate l/L.

    A sample's branch is either zero or divided by its survival, so that nothing changes at test time; the paper skips a
    block for a whole mini-batch and multiplies by the survival at test time instead: the same expectation. Its rate is
    0.5, for networks of over 100 blocks or 1200 layers. Blocks count over all stages; big_little's branches count in
    parallel.
    """

    rate: float = 0.2
    """probability that the last block is skipped, in [0, 1)"""
    mode: Literal["linear", "uniform"] = "linear"
    """linear: the probability grows with the depth, up to rate; uniform: every block has the rate"""

    def __post_init__(self) -> None:
        require(self, "rate", 0 <= self.rate < 1, "in [0, 1)")
        require_choice(self, "mode")

    def survival(self, block: int, blocks: int) -> float:
        """Probability that the branch of block 0, 1 ... of ``blocks`` is used."""
        return 1 - self.rate * ((block + 1) / blocks if self.mode == "linear" else 1)

    def edits(self, task: Task) -> list[SetPart]:
        def build(site: Site) -> nn.Module:
            survival = self.survival(site.block, site.blocks)
            return nn.Identity() if survival == 1 else BranchDrop(survival, task, site.path)

        return [SetPart(part=Part.BRANCH, build=build)]
