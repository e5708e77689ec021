from math import log2
from typing import Literal

import torch
from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require_choice, trick

KERNELS = (3, 5, 5, 7)  # by stage, in the released eca_resnet50


class ChannelConv(nn.Module):
    """Channel gate x * sigmoid(conv(mean(x))) with one kernel along the channels: (B C H W) -> (B C H W)."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv(x.mean((2, 3)).unsqueeze(1)))  # (B 1 C)
        return x * gate.squeeze(1)[:, :, None, None]


def kernel_of(channels: int) -> int:
    """Return |log2(C)/2 + 1/2| made odd as in the released code: rounded down, then up to the next odd number."""
    return int(abs(log2(channels) + 1) / 2) | 1


@trick(
    paper="Wang et al. 2020, section 3.2 (arXiv:1910.03151)",
    warns={"sk": "both weigh channels by their means, which no paper has tried together"},
)
class ECA:
    """Efficient channel attention: a gate for each channel from the means of the k nearest channels.

    gate = sigmoid(conv(mean(x))): one kernel of k weights for all channels, zero padding, no bias, after the closing
    norm of the residual branch, before the addition. kernels=k3557: k = 3, 5, 5, 7 in stages 1 to 4, the released
    ResNets; a fifth and later stage has 7. kernels=formula: the paper's k = |log2(C)/2 + 1/2| made odd, 5, 5, 5, 7 in a
    ResNet-50; timm's ECA is this one, but for k = 3 below 8 channels, where the formula gives 1.
    """

    kernels: Literal["k3557", "formula"] = "k3557"
    """width k of the kernel: k3557, by the stage; formula, by the number of channels"""

    def __post_init__(self) -> None:
        require_choice(self, "kernels")

    def edits(self, task: Task) -> list[SetPart]:
        return [SetPart(part=Part.GATE, build=self.gate)]

    def gate(self, channels: int, site: Site) -> ChannelConv:
        if self.kernels == "formula":
            return ChannelConv(kernel_of(channels))
        return ChannelConv(KERNELS[min(max(site.stage, 1), len(KERNELS)) - 1])
