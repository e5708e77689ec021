from bagoftricks.recipe.edits import SetTestSize
from bagoftricks.recipe.trick import Task, require, trick


@trick(paper="Touvron et al. 2019 (arXiv:1906.06423); Lee et al. 2020, table 6 (arXiv:2001.06268)")
class TestSize:
    """Test resolution: evaluation on larger images than those of the training.

    Random crops enlarge their content, so test images of about 256 pixels show objects at the size that a network
    trained at 224 has seen. The images are resized from the originals; MACs and inference speed are those of the new
    size. Touvron et al. also fine-tune the last layers at this size: experiment=laptop/fixres, or
    model.weights=FILE +refine=freeze data.crop=none with a larger image_size.
    """

    size: int = 256
    """side in pixels of the validation images"""
    short_side: int | None = None
    """short side in pixels before the centre crop; null: size / 0.875 rounded up (256: 293; Assembled-CNN has 292, and
    257 in E12), or size itself up to 64 pixels"""

    def __post_init__(self) -> None:
        require(self, "size", 2 <= self.size <= 16_384, "in 2..16384")
        fits = self.short_side is None or self.short_side >= self.size
        require(self, "short_side", fits, f"at least {self.size}, the size")

    def edits(self, task: Task) -> list[SetTestSize]:
        return [SetTestSize(size=self.size, short_side=self.short_side)]
