from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from bagoftricks.models.layers import Site
from bagoftricks.recipe.edits import Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick

STAGE_SCALES = {0: 1.0, 1: 0.25}  # number of later stages -> factor of the seeds' probability


def seed_probability(keep_prob: float, block: int, height: int, width: int) -> float:
    """Return gamma, the probability of a block at each place where one fits, such that 1 - keep_prob is dropped.

    The share is exact where one block fills the map; elsewhere blocks overlap, and less is dropped.
    """
    places = (height - block + 1) * (width - block + 1)
    return (1 - keep_prob) / block**2 * height * width / places


def grow(seeds: Tensor, block: int) -> Tensor:
    """Grow each true element of (B C h w) into a block: (B C h+block-1 w+block-1).

    Windows of 1, 2, 4 ... positions are joined by "or", one byte per element: a max-pool would read every element of a
    block and write floats with their 64-bit indices.
    """
    for dim, margins in ((2, [0, 0, block - 1, block - 1]), (3, [block - 1, block - 1])):
        seeds, reach = F.pad(seeds, margins), 1
        while reach < block:
            step = min(reach, block - reach)
            rest = seeds.shape[dim] - step
            seeds = seeds.narrow(dim, 0, rest) | seeds.narrow(dim, step, rest)
            reach += step
    return seeds


class BlockDrop(nn.Module):
    """Layer that zeroes blocks of each sample's and channel's map and rescales the rest to the mean without drops."""

    def __init__(self, settings: "DropBlock", scale: float, task: Task, place: str) -> None:
        super().__init__()
        self.settings, self.scale, self.task, self.place = settings, scale, task, place

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        gamma = self.task.clock.value(self.place, partial(self.gamma, *x.shape[2:]), x.device)
        if isinstance(gamma, float) and gamma <= 0:
            return x
        kept = ~self.dropped(x, gamma)
        of_images = kept.numel() // len(kept)
        left = self.task.noise.total(kept.sum())
        weight = self.task.noise.rows(len(kept)) * of_images / left.clamp(min=1).view(1, 1, 1, 1)
        # The weight is fp32 whatever x is; backward needs the mask of bits alone.
        return (x * kept * weight).to(x.dtype)

    def gamma(self, height: int, width: int, progress: float) -> float:
        """Return the probability of a seed in a map of this size, from the share of the run that is done."""
        block = min(self.settings.block_size, height, width)
        return self.scale * seed_probability(self.settings.keep_prob_at(progress), block, height, width)

    def dropped(self, x: Tensor, gamma: float | Tensor) -> Tensor:
        """Return a mask of the positions to zero: (B C H W), or (B C 1 1) if a block fills the map.

        Its memory format is channels_last, as that of feature maps by default, whatever that of x: the draws are the
        same.
        """
        b, c, height, width = x.shape
        block = min(self.settings.block_size, height, width)
        places = (height - block + 1, width - block + 1)
        draws = self.task.noise.uniform(b, *places, c, device=x.device, place=self.place)
        seeds = (draws < gamma).permute(0, 3, 1, 2)
        return seeds if block == height == width else grow(seeds, block)


@trick(paper="Ghiasi et al. 2018 (arXiv:1810.12890); Lee et al. 2020, table 7 (arXiv:2001.06268)")
class DropBlock:
    """DropBlock: random squares of the feature maps in the last two stages set to zero, more as training goes on.

    It follows each norm of a residual block and of its projection, for each sample and channel separately; the rest is
    scaled by elements / elements left. A square of side s lies wholly in the map, with the probability
    gamma = (1 - keep) / s^2 * H W / ((H - s + 1) (W - s + 1)) at each place of the last stage, and a quarter of that in
    the last but one (the papers' stages 4 and 3 of four); s is at most the map's side. Overlapping squares drop a
    little less than 1 - keep. GluonCV and timm let squares extend beyond the map: with s = 7 that drops 93 % of a 7x7
    map. The TensorFlow code of Assembled-CNN draws one mask for all samples of a batch. In MobileNet-V1, whose blocks
    have no branches, it follows the norm of each 1x1 of blocks 6 to 13.
    """

    block_size: int = 7
    """side in pixels of a dropped square"""
    keep_prob: float = 0.9
    """nominal share of elements kept at the end of the run, in (0, 1]"""
    start_keep_prob: float = 1.0
    """nominal share of elements kept at the start of the run; linear in the steps in between"""

    def __post_init__(self) -> None:
        require(self, "block_size", self.block_size >= 1, "at least 1")
        require(self, "keep_prob", 0 < self.keep_prob <= 1, "in (0, 1]")
        require(self, "start_keep_prob", 0 < self.start_keep_prob <= 1, "in (0, 1]")

    def keep_prob_at(self, progress: float) -> float:
        return self.start_keep_prob + (self.keep_prob - self.start_keep_prob) * progress

    def edits(self, task: Task) -> list[SetPart]:
        def build(channels: int, site: Site) -> nn.Module:
            scale = STAGE_SCALES.get(site.stages - site.stage) if site.stage > 0 else None
            return nn.Identity() if scale is None else BlockDrop(self, scale, task, site.path)

        return [SetPart(part=Part.DROP, build=build)]
