from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from bagoftricks.errors import TooSmall, UserError
from bagoftricks.models.layers import ConvNorm, ConvNormAct, ConvShortcut, MakeBlock, Site, stride_on_3x3
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick

MERGE_STRIDES = (2, 2, 1)  # of the merging blocks of stages 1 to 3; stage 4 halves the map again
SMALLEST = 64  # pixels of an image that leave a map of 2x2 in Big's stage 3 and in stage 4
WHY = (
    "Big-Little brings its own stem and pooled shortcut, and has its strides in the 3x3: "
    "leave resnet_b, resnet_c and resnet_d out"
)


class BigLittleStem(nn.Module):
    """Strided 7x7, then a second halving in two branches: (B C H W) -> (B width H/4 W/4), without a max-pool."""

    def __init__(self, width: int, little_width: int, site: Site) -> None:
        super().__init__()
        self.entry = ConvNormAct(site.channels, width, 7, 2, site)
        self.big = ConvNorm(width, width, 3, 2, site)
        self.little = nn.Sequential(
            ConvNormAct(width, little_width, 3, 1, site),
            ConvNormAct(little_width, little_width, 3, 2, site),
            ConvNorm(little_width, width, 1, 1, site),
        )
        self.act = site.act()
        self.exit = ConvNormAct(width, width, 1, 1, site)

    def forward(self, images: Tensor) -> Tensor:
        x = self.entry(images)
        y: Tensor = self.exit(self.act(self.big(x) + self.little(x)))
        return y


class BigLittleShortcut(ConvShortcut):
    """Projection by a 3x3 average of stride 2 and a 1x1: (B c_in H W) -> (B c_out ceil(H/s) ceil(W/s)).

    The padded zeros count in the averages at the border. With a stride of 1 there is nothing to pool.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, site: Site) -> None:
        super().__init__(c_in, c_out, 1, site)
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pool(x))


class BigLittleStage(nn.Module):
    """Big at half the resolution, Little at the full one, their sum, and a merging block: stages 1 to 3.

    Big's blocks and the merging one have the number and the names (0, 1 ...) of a plain stage's blocks, so a weight in
    the same place starts from the same value with and without the trick.
    """

    def __init__(self, big: Sequence[nn.Module], little: nn.Module, act: nn.Module, merge: nn.Module) -> None:
        super().__init__()
        for j, module in enumerate([*big, merge]):
            self.add_module(str(j), module)
        self.little, self.act = little, act

    def forward(self, x: Tensor) -> Tensor:
        *big, merge, little, act = self.children()
        fine, coarse = little(x), x
        for block in big:
            coarse = block(coarse)
        y: Tensor = merge(act(F.interpolate(coarse, fine.shape[2:], mode="nearest") + fine))
        return y


def chain(block: MakeBlock, c_in: int, width: int, stride: int, sites: Sequence[Site], *, big: bool) -> list[nn.Module]:
    """Return residual blocks in a row: the first has the stride and a projection, Big's last one no activation.

    A Big of a single block keeps its activation, as in both released codes.
    """
    blocks = []
    for j, site in enumerate(sites):
        last_act = not big or j == 0 or j < len(sites) - 1
        blocks.append(block(c_in, width, stride if j == 0 else 1, site, project=j == 0, last_act=last_act))
        c_in = block.expansion * width
    return blocks


@trick(paper="Chen et al. 2019 (arXiv:1807.03848); Lee et al. 2020, table 6 (arXiv:2001.06268)")
class BigLittle:
    """Big-Little network: a deep branch at half the resolution and a shallow, narrow one at the full one.

    Stages 1 to 3 are split. A stage of n blocks of width f gives n - 1 to Big, the first of stride 2, and one block
    that merges. Little has max(1, n//beta - 1) blocks of width f/alpha and a 1x1 to Big's channels. Big's map is
    enlarged to Little's (nearest neighbour), the two are added and activated, and the merging block follows, with a
    stride of 2, 2 and 1 in the three stages. Stage 4 is plain. The stem is split in two as well; it divides the side by
    4 at any image size, and no max-pool follows. Shortcuts average 3x3 before their 1x1, and strides are in the 3x3
    (contains resnet_b).

    As in the code of Assembled-CNN, the first block of each branch and the merging one have projections; Chen et al.
    have them only where the channels change. Assembled's ResNet-152 is model=resnet152_big_little with alpha=1 and
    beta=2. It trains at 224 pixels and evaluates at 256. Sides that are no multiple of 32 work: Big's is half of
    Little's, rounded up.
    """

    alpha: int = 2
    """divisor of Little's width"""
    beta: int = 4
    """divisor of Little's depth"""

    def __post_init__(self) -> None:
        require(self, "alpha", 1 <= self.alpha <= 1024, "in 1..1024")
        require(self, "beta", 1 <= self.beta <= 1024, "in 1..1024")

    def edits(self, task: Task) -> list[SetPart]:
        return [
            SetPart(part=Part.STEM, build=self.stem, why=WHY),
            SetPart(part=Part.SHORTCUT, build=BigLittleShortcut, why=WHY),
            SetPart(part=Part.STRIDE, build=stride_on_3x3, why=WHY),
            SetPart(
                part=Part.MAX_POOL,
                build=lambda channels, site: nn.Identity(),
                why="Big-Little's stem halves the map twice, so that there is no max-pool",
            ),
            SetPart(part=Part.LAYOUT, build=self.layout, why="Big-Little lays out its own stages"),
        ]

    def stem(self, width: int, stride: int, site: Site) -> BigLittleStem:
        """Return the stem, which always reduces by 4, whatever ``stride`` is."""
        if site.image_size < SMALLEST:
            raise TooSmall(
                f"image_size={site.image_size}: big_little divides the map's side by 32, so it needs {SMALLEST} pixels "
                f"or more: type image_size={SMALLEST}, or drop it with ~tricks.big_little"
            )
        return BigLittleStem(width, self.little_width(width), site)

    def little_width(self, width: int) -> int:
        if width % self.alpha:
            raise UserError(f"tricks.big_little.alpha={self.alpha}: must divide model.width={width}")
        return width // self.alpha

    def layout(
        self, depths: Sequence[int], width: int, block: MakeBlock, site: Site, *, c_in: int | None = None
    ) -> nn.Sequential:
        if len(depths) != 4 or min(depths[:3]) < 2:
            raise UserError(
                f"model.depths={list(depths)}: big_little needs four stages, the first three of at least 2 blocks: "
                f"choose model=resnet50, or drop it with ~tricks.big_little"
            )
        channels, done, stages = c_in or width, 0, list[nn.Module]()
        for i, depth in enumerate(depths):
            f = width * 2**i
            below = site.at(f"stage{i + 1}", stage=i + 1)
            sites = [below.at(f"block{j}", block=done + j) for j in range(depth)]
            if i < 3:
                stages.append(self.stage(channels, f, MERGE_STRIDES[i], block, below, sites))
            else:
                stages.append(nn.Sequential(*chain(block, channels, f, 2, sites, big=False)))
            channels, done = block.expansion * f, done + depth
        return nn.Sequential(*stages)

    def stage(
        self, c_in: int, width: int, stride: int, block: MakeBlock, below: Site, sites: Sequence[Site]
    ) -> BigLittleStage:
        """Return a split stage; Big's blocks and the merging one have ``sites``, which Little's first blocks share."""
        c_out, narrow = block.expansion * width, self.little_width(width)
        beside = [
            below.at(f"little{j}", block=s.block) for j, s in enumerate(sites[: max(1, len(sites) // self.beta - 1)])
        ]
        little = [
            *chain(block, c_in, narrow, 1, beside, big=False),
            ConvNorm(block.expansion * narrow, c_out, 1, 1, below),
        ]
        big = chain(block, c_in, width, 2, sites[:-1], big=True)
        (merge,) = chain(block, c_out, width, stride, sites[-1:], big=False)
        return BigLittleStage(big, nn.Sequential(*little), below.act(), merge)
