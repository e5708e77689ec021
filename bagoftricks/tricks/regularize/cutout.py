import torch
from jaxtyping import Float, Int64
from torch import Tensor

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
        device = batch.images.device
        draws = key.uniform_on(device, count, 3)
        y, x = (self.covered(draws[:, i], side) for i, side in enumerate((height, width)))
        squares = torch.arange(count, device=device)[:, None, None], slice(None), y[:, :, None], x[:, None, :]
        images = batch.images.clone()
        if self.probability == 1:
            images[squares] = 0
        else:
            chosen = draws[:, 2, None, None, None] < self.probability
            images[squares] = images[squares].masked_fill(chosen, 0)
        return Batch(images, batch.targets, batch.teacher)

    def covered(self, draws: Float[Tensor, " B"], side: int) -> Int64[Tensor, "B size"]:
        """Return the rows, or columns, of each image's square, whose place a uniform number chooses."""
        first = (draws * (side - self.size + 1 if self.inside else side)).long()
        if not self.inside:
            first = first - self.size // 2
        return (first[:, None] + torch.arange(self.size, device=draws.device)).clamp(0, side - 1)
