from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.image_ops import ENHANCEMENTS, Do, Op, amount, perform
from bagoftricks.recipe.edits import MapImages
from bagoftricks.recipe.trick import Task, require, trick

OPS = (
    Op.IDENTITY,
    Op.AUTO_CONTRAST,
    Op.EQUALIZE,
    Op.ROTATE,
    Op.SOLARIZE,
    Op.COLOUR,
    Op.POSTERIZE,
    Op.CONTRAST,
    Op.BRIGHTNESS,
    Op.SHARPNESS,
    Op.SHEAR_X,
    Op.SHEAR_Y,
    Op.TRANSLATE_X,
    Op.TRANSLATE_Y,
)


@trick(
    paper="Cubuk et al. 2020, figure 2 (arXiv:1909.13719)",
    overlaps="its operations change brightness, contrast and colour, as the corruptions brightness and contrast do",
)
class RandAugment:
    """RandAugment: a few random operations of 14 for each training image, all at one magnitude.

    The 14 are the paper's, identity among them, and a drawn one is always applied; timm applies it with probability 1/2
    and has invert and solarize-add in place of the identity, the authors' TPU code those and cutout. The magnitude m is
    the level of AutoAugment, of 10: rotate 3 m degrees, shear 0.03 m, translate by 0.045 m of the side (the released
    code: 10 m px). torchvision's 9 is of 30, so 3 here. Warps go to a random side and fill with grey (128), nearest
    resampling.

    With ``increasing`` (timm's "inc" and torchvision's form) a larger m does more in every operation, and m = 0 changes
    nothing but by autocontrast and equalize: enhance by 1 +- 0.09 m, keep 8 - int(0.4 m) bits, solarize from
    256 - 25.6 m. Without it, amounts are those of the released code: enhance by 0.1 + 0.18 m, keep int(0.4 m) bits,
    solarize from 25.6 m.

    The trick works on bytes, after crop, flip and jitter; data.jitter=none data.pca=0 leaves the colours to it. Its
    operations overlap those of ImageNet-C.
    """

    ops: int = 2
    """number of operations for each image (N in the paper)"""
    magnitude: float = 9.0
    """strength of every operation (M in the paper), in [0, 10]"""
    increasing: bool = True
    """amounts that grow with the magnitude in every operation; false: those of the released code"""

    def __post_init__(self) -> None:
        require(self, "ops", 1 <= self.ops <= 100, "in 1..100")
        require(self, "magnitude", 0 <= self.magnitude <= 10, "in [0, 10]")

    def edits(self, task: Task) -> list[MapImages]:
        return [MapImages(apply=self.apply, draws=2 * self.ops)]

    def apply(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "B 3 H W"]:
        ranges = self.ranges(*images.shape[2:])
        for which, sign in zip(draws[:, ::2].T.tolist(), draws[:, 1::2].T.tolist(), strict=True):
            ops = [OPS[int(u * len(OPS))] for u in which]
            amounts = [amount(op, self.magnitude / 10, s, ranges) for op, s in zip(ops, sign, strict=True)]
            images = perform(images, list(map(Do, ops, amounts)))
        return images

    def ranges(self, height: int, width: int) -> dict[Op, tuple[float, float]]:
        """Return the amounts at magnitude 0 and at magnitude 10."""
        return {
            Op.SHEAR_X: (0, 0.3),
            Op.SHEAR_Y: (0, 0.3),
            Op.TRANSLATE_X: (0, 0.45 * width),
            Op.TRANSLATE_Y: (0, 0.45 * height),
            Op.ROTATE: (0, 30),
            Op.POSTERIZE: (8, 4) if self.increasing else (0, 4),
            Op.SOLARIZE: (256, 0) if self.increasing else (0, 256),
            **dict.fromkeys(ENHANCEMENTS, (1, 1.9) if self.increasing else (0.1, 1.9)),
        }
