from typing import Literal

from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import FreezeParams, FreezeStatistics, depth_of
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(paper="Yosinski et al. 2014 (arXiv:1411.1792); Kornblith et al. 2019, section 4.1 (arXiv:1805.08974)")
class Freeze:
    """Frozen first layers: they keep their starting values, and the layers after them are trained.

    until=head freezes all but the last linear layer, which is then a linear classifier of fixed features; until=stem
    freezes the stem alone, and until=k the stem and the first k stages. A frozen parameter has no gradient, no weight
    decay and no state in the optimiser. With norms=eval, a batch norm between frozen layers normalises by its running
    statistics in training too, and keeps them: the frozen part is then one fixed function of the image. With
    norms=train, it normalises by the statistics of the batch and goes on averaging them, which adapts them to the data.
    Dropout and other draws in the frozen part stay as they are. Without model.weights the frozen values are random.
    """

    until: str = "head"
    """stem; the number of the last frozen stage, from 1; or head: all before the head"""
    norms: Literal["eval", "train"] = "eval"
    """statistics of frozen batch norms: those of the starting weights (eval) or of the batch (train)"""

    def __post_init__(self) -> None:
        number = self.until.isascii() and self.until.isdigit() and 1 <= int(self.until) <= 1000
        require(self, "until", self.until in ("stem", "head") or number, "stem, head, or the number of a stage")
        require_choice(self, "norms")

    def edits(self, task: Task) -> list[FreezeParams | FreezeStatistics]:
        statistics = [FreezeStatistics(select=self.is_frozen)] if self.norms == "eval" else []
        return [FreezeParams(select=self.is_frozen, any_start=True), *statistics]

    def is_frozen(self, module: nn.Module, name: str) -> bool:
        """Return True for a tensor up to the chosen depth. Raises UserError if the network has fewer stages."""
        depth = depth_of(module, name)
        if depth is None or self.until == "head":
            return depth is not None and not depth.in_head
        last = 0 if self.until == "stem" else int(self.until)
        if last > depth.stages:
            raise UserError(
                f"tricks.freeze.until={self.until}: this network has {depth.stages} stages; type a number up to "
                f"{depth.stages}, or head"
            )
        return depth.stage <= last
