import math
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, require_choice, trick
from bagoftricks.rng import Key

ATTEMPTS = 10  # rectangles that are drawn until one fits


@trick(paper="Zhong et al. 2020 (arXiv:1708.04896)")
class RandomErasing:
    """Random erasing: a rectangle of some training images filled with the mean colour or with noise.

    Its share of the image is uniform, the logarithm of its height over its width too, and its place inside the image.
    Of up to ten drawn rectangles the first one that is smaller than the image on both sides is taken, as in timm, whose
    defaults these are; the paper's are probability 0.5, most_area 0.4 and random bytes for each pixel (here, normal
    noise after the normalisation). Every view of an image has a rectangle of its own.
    """

    probability: float = 0.25
    """share of the images that lose a rectangle, in (0, 1]"""
    least_area: float = 0.02
    """least share of the image's pixels in the rectangle, above 0"""
    most_area: float = 0.3333
    """largest share of the image's pixels in the rectangle, up to 1"""
    ratio: float = 0.3
    """least height over width of the rectangle, in (0, 1]; the largest is its inverse"""
    fill: Literal["mean", "colour", "pixel"] = "mean"
    """mean colour; colour, one normal draw for each channel; or pixel, one for each value"""

    def __post_init__(self) -> None:
        require(self, "probability", 0 < self.probability <= 1, "in (0, 1] (leave random_erasing out to erase nothing)")
        require(self, "most_area", 0 < self.most_area <= 1, "in (0, 1]")
        require(
            self, "least_area", 0 < self.least_area <= self.most_area, f"in (0, {self.most_area:g}], up to the most"
        )
        require(self, "ratio", 0 < self.ratio <= 1, "in (0, 1]")
        require_choice(self, "fill")

    def edits(self, task: Task) -> list[MapBatch]:
        return [MapBatch(phase=BatchPhase.ERASE, apply=self.erase)]

    def erase(self, batch: Batch, key: Key) -> Batch:
        """Return a batch with the rectangles; leave ``batch`` unchanged."""
        images = batch.images
        hidden = self.rectangles(key, len(images), images.shape[2], images.shape[3], images.device)[:, None]
        if self.fill == "mean":
            images = images.masked_fill(hidden, 0)
        else:
            shape = images.shape if self.fill == "pixel" else (*images.shape[:2], 1, 1)
            generator = key.fold("fill").generator(images.device)
            noise = torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)
            images = torch.where(hidden, noise, images)
        return Batch(images, batch.targets, batch.teacher)

    def rectangles(self, key: Key, count: int, height: int, width: int, device: torch.device) -> Bool[Tensor, "B H W"]:
        """Return True at the pixels of each image's rectangle."""
        draws = key.uniform_on(device, count, 3 + 2 * ATTEMPTS)
        areas = (self.least_area + draws[:, 3::2] * (self.most_area - self.least_area)) * height * width
        ratios = torch.exp((2 * draws[:, 4::2] - 1) * math.log(1 / self.ratio))
        heights, widths = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (heights < height) & (widths < width)
        first = fits.int().argmax(1, keepdim=True)
        chosen = (draws[:, 0] < self.probability) & fits.any(1)

        def covered(sizes: Tensor, place: Tensor, side: int) -> Tensor:
            size = sizes.gather(1, first)
            start = (place[:, None] * (side - size + 1)).floor()
            pixels = torch.arange(side, device=device)
            return (pixels >= start) & (pixels < start + size)

        rows, columns = covered(heights, draws[:, 1], height), covered(widths, draws[:, 2], width)
        return rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
