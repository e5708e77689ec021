from torch import Tensor, nn

from bagoftricks.models.layers import ConvShortcut, DeepStem, Site, stride_on_3x3
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, trick


class PooledShortcut(ConvShortcut):
    """Projection by an average-pool and a 1x1 of stride 1: (B c_in H W) -> (B c_out ceil(H/s) ceil(W/s)).

    At odd sizes the last window averages the positions that exist, as in GluonCV and timm; the TensorFlow code of
    Assembled-CNN counts padded zeros there. With a stride of 1 there is nothing to pool.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, site: Site) -> None:
        super().__init__(c_in, c_out, 1, site)
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.pool = pool if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pool(x))


@trick(paper="He et al. 2019, section 4.2 (arXiv:1812.01187)")
class ResNetD:
    """ResNet-D: resnet_c, and projection shortcuts that average before their 1x1 (contains resnet_b)."""

    def edits(self, task: Task) -> list[SetPart]:
        return [
            SetPart(part=Part.STRIDE, build=stride_on_3x3),
            SetPart(part=Part.STEM, build=DeepStem),
            SetPart(part=Part.SHORTCUT, build=PooledShortcut),
        ]
