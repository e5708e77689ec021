import numpy as np
import torch

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch, BatchPhase, MapBatch
from bagoftricks.recipe.trick import Task, require, trick
from bagoftricks.rng import Key


@trick(paper="DeVries and Taylor 2017, section 3 (arXiv:1708.04552); Page 2019, 'How to Train Your ResNet'")
class Cutout:
    """Cutout: a square of each training image filled with the mean colour.

    The square is zero after the normalisation. Page's (the default) lies inside the image, its top left uniform;
    DeVries and Taylor's has its centre anywhere in the image and is clipped, so it hides less near the borders. Its
    rows are c - size // 2 to c - size // 2 + size - 1 for an odd size too, where their code has one less. Every view of
    an image has a square of its own.
    """

    size: int = 8
    """side of the square in pixels, less than the image's"""
    inside: bool = True
    """squares that lie wholly in the image (Page); false: only their centres do (DeVries and Taylor)"""
    probability: float = 1.0
    """share of the images that lose a square, in (0, 1]"""

    def __post_init__(self) -> None:
        require(self, "size", self.size > 0, "positive (leave cutout out to hide nothing)")
        require(self, "probability", 0 < self.probability <= 1, "in (0, 1] (leave cutout out to hide nothing)")

    def edits(self, task: Task) -> list[MapBatch]:
        return [MapBatch(phase=BatchPhase.ERASE, apply=self.erase)]

    def erase(self, batch: Batch, key: Key) -> Batch:
        """Return a batch with the squares; leave ``batch`` unchanged."""
        count, _, height, width = batch.images.shape
        if self.size >= min(height, width):
            raise UserError(
                f"tricks.cutout.size={self.size}: must be less than the images' {min(height, width)} pixels; "
                "set a smaller tricks.cutout.size or a larger image_size"
            )
        draws = key.uniform(np.arange(count), 3)
        sides = np.array([height, width])
        if self.inside:
            corners = np.floor(draws[:, :2] * (sides - self.size + 1))
        else:
            corners = np.floor(draws[:, :2] * sides) - self.size // 2
        chosen = np.flatnonzero(draws[:, 2] < self.probability)
        # Chosen on the host, where the draws are: three integers per square go to the device, and nothing waits for it.
        squares = torch.from_numpy(np.column_stack([chosen, corners[chosen]]).astype(np.int64))
        rows, top, left = squares.to(batch.images.device, non_blocking=True).unbind(1)
        side = torch.arange(self.size, device=batch.images.device)
        y, x = (top[:, None] + side).clamp(0, height - 1), (left[:, None] + side).clamp(0, width - 1)
        images = batch.images.clone()
        images[rows[:, None, None], :, y[:, :, None], x[:, None, :]] = 0
        return Batch(images, batch.targets, batch.teacher)
