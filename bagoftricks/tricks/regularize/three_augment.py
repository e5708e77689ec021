import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.image_ops import DO_NOTHING, Do, Op, perform
from bagoftricks.recipe.edits import MapImages
from bagoftricks.recipe.trick import Task, require, trick

CHOICES = (Do(Op.COLOUR, 0.0), Do(Op.SOLARIZE, 128.0), DO_NOTHING)  # grey, solarized; or blurred, which is no such op
BLUR = 2
CUT = 4.0  # deviations after which the Gaussian is cut off


@trick(
    paper="Touvron et al. 2022, section 3 (arXiv:2204.07118)",
    overlaps="it blurs a third of the images, as the corruptions defocus_blur and gaussian_blur do",
)
class ThreeAugment:
    """3-Augment: each training image made grey, solarized from 128, or blurred, one of the three at random.

    The blur is Gaussian, with a standard deviation that is uniform in [0.1, 2] pixels; PIL's, which the released code
    calls, approximates it by box filters. The colour jitter of 0.3 that goes with it is a setting of the data and comes
    before, not after: type data.jitter=bcs data.jitter_strength=0.3 data.pca=0. The paper's simple random crop, a
    resize and a crop with reflected padding of 4 pixels, is one too.
    """

    least_blur: float = 0.1
    """least standard deviation of the blur in pixels, 0 or more"""
    most_blur: float = 2.0
    """largest standard deviation of the blur in pixels, up to 32"""

    def __post_init__(self) -> None:
        require(self, "most_blur", 0 < self.most_blur <= 32, "in (0, 32]")
        require(
            self, "least_blur", 0 <= self.least_blur <= self.most_blur, f"in [0, {self.most_blur:g}], up to the most"
        )

    def edits(self, task: Task) -> list[MapImages]:
        return [MapImages(apply=self.apply, draws=2)]

    def apply(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "B 3 H W"]:
        which = (draws[:, 0] * len(CHOICES)).long()
        images = perform(images, [CHOICES[i] for i in which.tolist()])
        blurred = which == BLUR
        sigmas = self.least_blur + draws[blurred, 1] * (self.most_blur - self.least_blur)
        images[blurred] = blur(images[blurred], sigmas, math.ceil(CUT * self.most_blur))
        return images


def blur(images: UInt8[Tensor, "N 3 H W"], sigmas: Float[Tensor, " N"], radius: int) -> UInt8[Tensor, "N 3 H W"]:
    """Blur each image with a Gaussian of its own; the border's pixels go on outside.

    Taps are added one by one, so that an image's result does not depend on its batch.
    """
    squares = torch.arange(radius + 1).square() / (2 * sigmas.clamp(min=1e-3).square()[:, None])
    taps = torch.exp(-squares)
    taps = (taps / (2 * taps.sum(1, keepdim=True) - 1))[:, :, None, None, None]
    x = images.float()
    for dim in (2, 3):
        padded = F.pad(x, (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0), mode="replicate")
        size = x.shape[dim]
        x = taps[:, 0] * x
        for step in range(1, radius + 1):
            x += taps[:, step] * (padded.narrow(dim, radius - step, size) + padded.narrow(dim, radius + step, size))
    return x.add_(0.5).clamp_(0, 255).to(torch.uint8)
