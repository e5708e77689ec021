from typing import Literal

from torch import nn

from bagoftricks.recipe.edits import ScaleParams, depth_of
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(paper="Clark et al. 2020, appendix B (arXiv:2003.10555); Bao et al. 2021, appendix H (arXiv:2106.08254)")
class LayerDecay:
    """Layer-wise learning rates: lr x decay^d for a layer d blocks before the head.

    The head has the whole rate, the last block decay times it, and so on down to the stem: first layers are the most
    general ones, and are changed the least. Blocks (or stages) are those of the network as it was built, for timm's
    networks those that timm states. ELECTRA decays by 0.8 and BEiT by 0.65 or 0.75 a block; He et al. 2021
    (arXiv:2111.06377) by 0.75. A ResNet-50 has 16 blocks: its stem gets 0.75^17 = 0.0075 of the rate.
    """

    decay: float = 0.75
    """factor of the learning rate from one block to the block before it, in (0, 1)"""
    per: Literal["block", "stage"] = "block"
    """unit of the distance to the head: blocks, or stages"""

    def __post_init__(self) -> None:
        require(self, "decay", 0 < self.decay < 1, "in (0, 1) (for one rate in all layers, leave layer_decay out)")
        require_choice(self, "per")

    def edits(self, task: Task) -> list[ScaleParams]:
        return [ScaleParams(select=is_before_head, lr=self.factor)]

    def factor(self, module: nn.Module, name: str) -> float:
        """Return the factor of a parameter's learning rate."""
        depth = depth_of(module, name)
        assert depth is not None, "only parameters before the head are selected"
        distance = depth.stages + 1 - depth.stage if self.per == "stage" else depth.blocks + 1 - depth.block
        return self.decay**distance


def is_before_head(module: nn.Module, name: str) -> bool:
    depth = depth_of(module, name)
    return depth is not None and not depth.in_head
