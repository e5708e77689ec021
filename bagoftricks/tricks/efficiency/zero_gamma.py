from torch import nn

from bagoftricks.recipe.edits import InitParams, Role, has_role
from bagoftricks.recipe.trick import Task, trick


@trick(paper="Goyal et al. 2017, section 5.1 (arXiv:1706.02677); He et al. 2019, section 3.1")
class ZeroGamma:
    """Zero gamma: the scale of each residual branch's closing norm starts at 0, so a block is its shortcut.

    The projection shortcut's norm keeps gamma 1. At the first step only the closing norm's gamma and beta have a
    gradient; the branch's convolutions follow.
    """

    def edits(self, task: Task) -> list[InitParams]:
        def is_closing_gamma(module: nn.Module, name: str) -> bool:
            return name == "weight" and has_role(module, Role.CLOSING_NORM)

        return [InitParams(select=is_closing_gamma, init=lambda gamma, key: nn.init.zeros_(gamma))]
