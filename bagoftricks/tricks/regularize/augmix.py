import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.image_ops import DO_NOTHING, WHOLE, Do, Op, amount, perform
from bagoftricks.recipe.edits import AddLossTerm, Batch, MapImages
from bagoftricks.recipe.trick import Task, require, trick

OPS = (
    Op.AUTO_CONTRAST,
    Op.EQUALIZE,
    Op.POSTERIZE,
    Op.ROTATE,
    Op.SOLARIZE,
    Op.SHEAR_X,
    Op.SHEAR_Y,
    Op.TRANSLATE_X,
    Op.TRANSLATE_Y,
)
CORRUPTING = (Op.COLOUR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)
WHOLE_HERE = WHOLE | {Op.ROTATE, Op.TRANSLATE_X, Op.TRANSLATE_Y}
HALF_A_DRAW = 2.0**-25  # draws are multiples of 2^-24: moved to the middle of their cell, their logarithm is finite


@trick(
    paper="Hendrycks et al. 2020, algorithm 1 (arXiv:1912.02781)",
    overlaps="all_ops changes brightness, contrast and colour, as the corruptions brightness and contrast do",
    overlaps_if="all_ops",
)
class AugMix:
    """AugMix: each image and two mixtures of its augmentation chains, with a loss on their disagreement.

    A mixture is (1 - m) x + m sum_i w_i chain_i(x), with m ~ Beta(1, 1), w ~ Dirichlet(1, .., 1), and a chain of 1 to
    ``depth`` operations. The loss is the cross entropy of the clean image plus 12 JS(p_clean, p_1, p_2), the mean
    Kullback-Leibler divergence to the mean prediction (clamped to [1e-7, 1], fp32). The three views go through the
    network as one batch of 3b images, so its batch norms see them all.

    The reference mixes normalised floats. Here the pixels are mixed, which is the same up to the affine map, and
    rounded to bytes: at most half a grey level apart. Warps resample bilinearly and fill with black, as in the
    reference.
    It uses lr 0.1 b / 256 and severity 1 on ImageNet. The divergence is not smoothed (timm smooths its labels by 0.1).

    The trick works on bytes, after crop, flip and jitter; data.jitter=none data.pca=0 leaves the colours to it.
    """

    severity: float = 3.0
    """strength of the operations, drawn from [0.1, severity] of 10: 3 on CIFAR, 1 on ImageNet"""
    chains: int = 3
    """number of augmentation chains per mixture (k in the paper)"""
    depth: int = 3
    """largest number of operations in a chain"""
    all_ops: bool = False
    """colour, contrast, brightness and sharpness too; they overlap ImageNet-C, so no robustness can be claimed there"""
    jsd_weight: float = 12.0
    """weight of the divergence; 0: one mixture instead of three views, and no divergence"""

    def __post_init__(self) -> None:
        require(self, "severity", 0.1 <= self.severity <= 10, "in [0.1, 10]")
        require(self, "chains", 1 <= self.chains <= 100, "in 1..100")
        require(self, "depth", 1 <= self.depth <= 100, "in 1..100")
        require(self, "jsd_weight", self.jsd_weight >= 0, "at least 0")

    def edits(self, task: Task) -> list[MapImages | AddLossTerm]:
        if self.jsd_weight == 0:
            return [MapImages(apply=self.mixture, draws=self.draws)]
        return [MapImages(apply=self.views, draws=2 * self.draws, views=3), AddLossTerm(term=self.divergence)]

    @property
    def draws(self) -> int:
        """Number of draws of a mixture: its weight; for each chain its weight, its length, and 3 for each operation."""
        return 1 + self.chains * (2 + 3 * self.depth)

    def views(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "VB 3 H W"]:
        """Return the images, then a mixture of each, then another one of each."""
        mixtures = self.mixture(images.repeat(2, 1, 1, 1), torch.cat(draws.chunk(2, 1)))
        return torch.cat([images, mixtures])

    def mixture(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "B 3 H W"]:
        rows = draws.tolist()
        mixed = torch.zeros(images.shape)
        weights = torch.tensor([shares(row[1 : 1 + self.chains]) for row in rows])
        for made, weight in zip(self.augmented(images, rows), weights.T, strict=True):
            mixed = mixed + weight.view(-1, 1, 1, 1) * made  # step by step: the same for any batch
        share = draws[:, 0].view(-1, 1, 1, 1)
        return ((1 - share) * images + share * mixed).round().to(torch.uint8)

    def augmented(self, images: UInt8[Tensor, "B 3 H W"], rows: list[list[float]]) -> tuple[Tensor, ...]:
        """Return the images after each chain."""
        ranges = self.ranges(*images.shape[2:])
        plans = [self.chain(row, i, ranges) for i in range(self.chains) for row in rows]
        made = images.repeat(self.chains, 1, 1, 1)
        for step in zip(*plans, strict=True):
            made = perform(made, step, fill=0, bilinear=True)
        return made.chunk(self.chains)

    def chain(self, row: list[float], i: int, ranges: dict[Op, tuple[float, float]]) -> list[Do]:
        """Return the operations of chain ``i`` of an image."""
        start = 1 + self.chains + i * (1 + 3 * self.depth)
        length, todo = 1 + int(row[start] * self.depth), []
        ops = OPS + CORRUPTING if self.all_ops else OPS
        for place in range(start + 1, start + 1 + 3 * length, 3):
            op, level = ops[int(row[place] * len(ops))], 0.1 + (self.severity - 0.1) * row[place + 1]
            todo.append(Do(op, amount(op, level / 10, row[place + 2], ranges, WHOLE_HERE)))
        return todo + [DO_NOTHING] * (self.depth - length)

    def ranges(self, height: int, width: int) -> dict[Op, tuple[float, float]]:
        """Return the amounts at level 0 and at level 10."""
        return {
            Op.POSTERIZE: (4, 0),
            Op.ROTATE: (0, 30),
            Op.SOLARIZE: (256, 0),
            Op.SHEAR_X: (0, 0.3),
            Op.SHEAR_Y: (0, 0.3),
            Op.TRANSLATE_X: (0, width / 3),
            Op.TRANSLATE_Y: (0, height / 3),
            **dict.fromkeys(CORRUPTING, (0.1, 1.9)),
        }

    def divergence(self, logits: Float[Tensor, "VB K"], batch: Batch) -> Tensor:
        """Return the weighted Jensen-Shannon divergence of the predictions for an image's views, at most ln 3 each."""
        log_p = logits.float().log_softmax(1).view(-1, *batch.targets.shape)
        p = log_p.exp()
        log_mean = p.mean(0).clamp(1e-7, 1).log()
        divergence: Tensor = (p * (log_p - log_mean)).sum(2).mean()
        return self.jsd_weight * divergence


def shares(draws: list[float]) -> list[float]:
    """Return weights uniform on the simplex: exponential variables over their sum."""
    exponentials = [-math.log(u + HALF_A_DRAW) for u in draws]
    return [e / sum(exponentials) for e in exponentials]
