from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.image_ops import ENHANCEMENTS, WHOLE, Do, Op, amount, perform
from bagoftricks.recipe.edits import MapImages
from bagoftricks.recipe.trick import Task, trick

RANGES: dict[Op, tuple[float, float]] = {  # amounts at level 0 and at level 30
    Op.SHEAR_X: (0, 0.99),
    Op.SHEAR_Y: (0, 0.99),
    Op.TRANSLATE_X: (0, 32),
    Op.TRANSLATE_Y: (0, 32),
    Op.ROTATE: (0, 135),
    Op.POSTERIZE: (8, 2),
    Op.SOLARIZE: (256, 0),
    **dict.fromkeys(ENHANCEMENTS, (1, 1.99)),
}
OPS = (Op.IDENTITY, Op.AUTO_CONTRAST, Op.EQUALIZE, *RANGES)
LEVELS = 31
WHOLE_HERE = WHOLE | {Op.TRANSLATE_X, Op.TRANSLATE_Y}


@trick(
    paper="Mueller and Hutter 2021, table 1 (arXiv:2103.10158)",
    overlaps="its operations change brightness, contrast and colour, as the corruptions brightness and contrast do",
)
class TrivialAugment:
    """TrivialAugment: one random operation of 14 for each training image, at one of 31 random strengths.

    The space is the paper's wide one: shear to 0.99, translate to 32 px (at any size: an image of 32 px can leave the
    frame), rotate to 135 degrees, enhance by 1 +- 0.99, keep 8 to 2 bits, solarize from 256 to 0. There is nothing to
    tune. Warps fill with black and resample to the nearest pixel, as in the authors' code and in torchvision. The
    signed enhancements are torchvision's (the authors' factor is one of 31 in [0.01, 2]). Bits are truncated as in the
    authors' code; torchvision rounds them.

    The trick works on bytes, after crop, flip and jitter; data.jitter=none data.pca=0 leaves the colours to it. Its
    operations overlap those of ImageNet-C.
    """

    def edits(self, task: Task) -> list[MapImages]:
        return [MapImages(apply=self.apply, draws=3)]

    def apply(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B 3"]) -> UInt8[Tensor, "B 3 H W"]:
        return perform(images, [self.plan(*row) for row in draws.tolist()], fill=0)

    def plan(self, which: float, strength: float, sign: float) -> Do:
        """Return the operation on one image."""
        op = OPS[int(which * len(OPS))]
        return Do(op, amount(op, int(strength * LEVELS) / (LEVELS - 1), sign, RANGES, WHOLE_HERE))
