from math import comb

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.models.layers import ConvShortcut, Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick


class BlurPool(nn.Module):
    """Fixed binomial blur k x k with subsampling: (B C H W) -> (B C ceil(H/s) ceil(W/s)).

    The padding reflects (k-1)/2 positions, rounded down at the top and left and up at the bottom and right. A map too
    small to be reflected, of at most k/2 positions, repeats its border instead. A ``dilation`` d blurs over every d-th
    position: what a network without some of its strides has in this place.
    """

    kernel: Tensor

    def __init__(self, channels: int, stride: int, filter_size: int) -> None:
        super().__init__()
        row = torch.tensor([float(comb(filter_size - 1, i)) for i in range(filter_size)]) / 2 ** (filter_size - 1)
        self.register_buffer("kernel", torch.outer(row, row).repeat(channels, 1, 1, 1), persistent=False)
        self.stride, self.dilation, self.before, self.after = stride, 1, (filter_size - 1) // 2, filter_size // 2

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.before * self.dilation, self.after * self.dilation
        mode = "reflect" if min(x.shape[2:]) > after else "replicate"
        padded = F.pad(x, (before, after, before, after), mode)
        return F.conv2d(padded, self.kernel, stride=self.stride, dilation=self.dilation, groups=len(self.kernel))


class BlurredShortcut(ConvShortcut):
    """Projection by a blur-pool and a 1x1 of stride 1: (B c_in H W) -> (B c_out ceil(H/s) ceil(W/s))."""

    def __init__(self, c_in: int, c_out: int, stride: int, site: Site, *, filter_size: int) -> None:
        super().__init__(c_in, c_out, 1, site)
        self.blur = BlurPool(c_in, stride, filter_size) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.blur(x))


@trick(paper="Zhang 2019, section 3.2 (arXiv:1904.11486); Lee et al. 2020, section 3.1 and table 3 (arXiv:2001.06268)")
class AntiAlias:
    """Anti-aliased downsampling: a convolution of stride 1, norm, ReLU, then a blur of stride 2.

    The filter is the outer product of a row of Pascal's triangle with itself, scaled to sum to 1; it adds no
    parameter, but the convolutions at stride 1 cost four times as much. The defaults are the paper's choice A4. A1 to
    A3 also need max_pool, which the released code lacks; here the stem's 3x3 max-pool gets stride 1 and a blur follows
    (timm's form; Zhang's ResNets shrink it to 2x2). The stem's convolutions are unchanged.
    """

    filter_size: int = 3
    """side k of the filter in positions, 2 to 7"""
    convolution: bool = True
    """blur after the strided convolution of a residual branch"""
    projection: bool = False
    """blur before the 1x1 of a projection shortcut (not with resnet_d, which averages there)"""
    max_pool: bool = False
    """blur after the stem's max-pool, if it has one (images of more than 64 pixels)"""

    def __post_init__(self) -> None:
        require(self, "filter_size", 2 <= self.filter_size <= 7, "in 2..7")
        some = self.convolution or self.projection or self.max_pool
        require(self, "convolution", some, "true unless projection or max_pool is")

    def edits(self, task: Task) -> list[SetPart]:
        parts = [
            (self.convolution, SetPart(part=Part.DOWN, build=self.down)),
            (self.projection, SetPart(part=Part.SHORTCUT, build=self.shortcut, why="blur or average, not both")),
            (self.max_pool, SetPart(part=Part.MAX_POOL, build=self.pool)),
        ]
        return [part for wanted, part in parts if wanted]

    def down(self, channels: int, stride: int, site: Site) -> BlurPool:
        return BlurPool(channels, stride, self.filter_size)

    def shortcut(self, c_in: int, c_out: int, stride: int, site: Site) -> BlurredShortcut:
        return BlurredShortcut(c_in, c_out, stride, site, filter_size=self.filter_size)

    def pool(self, channels: int, site: Site) -> nn.Sequential:
        return nn.Sequential(nn.MaxPool2d(3, 1, 1), BlurPool(channels, 2, self.filter_size))
