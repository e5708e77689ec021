import torch
from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


class ChannelScale(nn.Module):
    """Learned factor of each channel: (B C H W) -> (B C H W)."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


@trick(
    paper="Touvron et al. 2021, section 2 (arXiv:2103.17239)",
    warns={
        "zero_gamma": "branches hardly learn at first: the scale's gradient is 0, gamma's is multiplied by the scale",
        "se": "its gate reads the scaled branch, which is near zero at the start",
    },
)
class LayerScale:
    """LayerScale: a learned factor for each channel of a residual branch, near zero at the start.

    x + diag(s) f(x): s stands after the closing norm of the branch and before the addition, and decays as the weights
    do (unless no_bias_decay is on). The paper starts at 0.1 up to 18 blocks, at 1e-5 up to 24 and at 1e-6 in deeper
    transformers.
    """

    start: float = 1e-5
    """initial value of every factor, above 0"""

    def __post_init__(self) -> None:
        require(self, "start", self.start > 0, "positive (zero_gamma starts branches at 0)")

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.GATE, build=self.scale)]

    def scale(self, channels: int, site: Site) -> ChannelScale:
        return ChannelScale(channels, self.start)
