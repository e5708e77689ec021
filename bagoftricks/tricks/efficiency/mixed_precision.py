from typing import Literal

import torch

from bagoftricks.recipe.edits import SetPrecision
from bagoftricks.recipe.trick import Task, require, require_choice, trick


@trick(paper="Micikevicius et al. 2018 (arXiv:1710.03740); He et al. 2019, section 3.1")
class MixedPrecision:
    """Mixed precision: bf16, or fp16 with a scaled loss; the weights and the loss stay in fp32.

    The papers use fp16 (Assembled-CNN with a fixed scale of 128). bf16 has the range of fp32, needs no scaling and
    works on a CPU too, so it is the default here. A processor without instructions for it emulates it, many times
    slower: dtype=auto leaves the trick out there. A step whose scaled gradients overflow is skipped.
    """

    dtype: Literal["bf16", "fp16", "auto"] = "bf16"
    """number format: bf16; fp16 (GPU only); or auto: bf16 where the device has instructions for it, else no trick"""
    loss_scale: float = 0.0
    """fixed factor of the loss with fp16; 0: adapted during training"""

    def __post_init__(self) -> None:
        require_choice(self, "dtype")
        require(self, "loss_scale", self.loss_scale >= 0, "0 or more")

    def edits(self, task: Task) -> list[SetPrecision]:
        if self.dtype == "fp16":
            return [SetPrecision(dtype=torch.float16, loss_scale=self.loss_scale)]
        return [SetPrecision(dtype=torch.bfloat16)]
