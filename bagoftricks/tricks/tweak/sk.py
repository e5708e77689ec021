from typing import Literal

import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models.layers import ConvNormAct, Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, require_choice, trick

LEAST = 32  # fewest hidden channels of the attention


class SplitConv(nn.Module):
    """Two branches from one 3x3 of 2C outputs: (B c_in H W) -> two (B C H/s W/s)."""

    def __init__(self, c_in: int, channels: int, stride: int, groups: int, site: Site) -> None:
        super().__init__()
        self.both = ConvNormAct(c_in, 2 * channels, 3, stride, site, groups=groups)
        self.groups = groups

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Without groups: the first C and the last C channels. With each group halved, both branches see all groups.
        first, second = self.both(x).unflatten(1, (self.groups, 2, -1)).unbind(2)
        return first.flatten(1, 2), second.flatten(1, 2)


class TwoConvs(nn.Module):
    """Branches of a 3x3 and a 5x5: (B c_in H W) -> two (B C H/s W/s)."""

    def __init__(self, c_in: int, channels: int, stride: int, groups: int, site: Site) -> None:
        super().__init__()
        self.small = ConvNormAct(c_in, channels, 3, stride, site, groups=groups)
        self.large = ConvNormAct(c_in, channels, 5, stride, site, groups=groups)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.small(x), self.large(x)


class BranchAttention(nn.Module):
    """Shares of two branches for each channel, from the means of their sum: two (B C H W) -> (B 2 C 1 1)."""

    def __init__(self, channels: int, hidden: int, site: Site) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(channels, hidden, 1, 1, site)
        self.excite = nn.Conv2d(hidden, 2 * channels, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        means = first.mean((2, 3), keepdim=True) + second.mean((2, 3), keepdim=True)
        logits: Tensor = self.excite(self.squeeze(means))
        return torch.unflatten(logits.float(), 1, (2, -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """Branches, their weighted sum, drop, and the downsampling module: (B c_in H W) -> (B C H/s W/s)."""

    def __init__(self, branches: nn.Module, attention: nn.Module, drop: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.branches, self.attention, self.drop, self.down = branches, attention, drop, down

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.branches(x)
        share = self.attention(first, second)[:, 0].to(first.dtype)
        y: Tensor = self.down(self.drop(torch.lerp(second, first, share)))
        return y


@trick(paper="Li et al. 2019, section 3.1 (arXiv:1903.06586); Lee et al. 2020, section 3.1 (arXiv:2001.06268)")
class SK:
    """Selective kernel: two branches in place of a bottleneck's 3x3, weighted for each image and channel.

    V = a U1 + b U2 with (a, b) = softmax over the two of W2 relu(norm(W1 mean(U1 + U2))), W1: C -> d = max(C/r, 32).
    V goes to the last 1x1 without another norm or activation. branches=split is the form of Assembled-CNN: U1 and U2
    are the halves of one 3x3 with 2C outputs, norm and ReLU. branches=3x3+5x5 has a convolution each; the 5x5 is
    dense, whereas SKNet dilates a 3x3. The paper's r of 16 belongs to SKNet's groups; timm's selective kernels split
    the inputs too, which is another network. In grouped networks (ResNeXt) each group is halved. The attention's norm
    sees one value for each image and channel: a batch needs two images.
    """

    reduction: int = 2
    """channels r per hidden channel of the attention"""
    branches: Literal["split", "3x3+5x5"] = "split"
    """form of the branches: split (one 3x3 of twice the channels, halved) or 3x3+5x5 (a convolution each)"""

    def __post_init__(self) -> None:
        require(self, "reduction", self.reduction >= 1, "1 or more")
        require_choice(self, "branches")

    def edits(self, task: Task) -> list[SetPart]:
        if task.batch_size < 2:
            raise UserError(f"batch_size={task.batch_size}: sk needs 2 or more, for the norm of its attention")
        return [SetPart(part=Part.CONV3, build=self.conv3)]

    def conv3(self, c_in: int, c_out: int, stride: int, groups: int, site: Site) -> SelectiveKernel:
        stride, down = site.down(c_out, stride)
        branches = (SplitConv if self.branches == "split" else TwoConvs)(c_in, c_out, stride, groups, site)
        attention = BranchAttention(c_out, max(c_out // self.reduction, LEAST), site)
        return SelectiveKernel(branches, attention, site.drop(c_out), down)
