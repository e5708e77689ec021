from typing import Literal

from jaxtyping import Float, UInt8
from torch import Tensor

from bagoftricks.image_ops import DO_NOTHING, Do, Op, amount, perform
from bagoftricks.recipe.edits import MapImages
from bagoftricks.recipe.trick import Task, require_choice, trick

SHORT = {
    "ShX": Op.SHEAR_X,
    "ShY": Op.SHEAR_Y,
    "TrX": Op.TRANSLATE_X,
    "TrY": Op.TRANSLATE_Y,
    "Rot": Op.ROTATE,
    "AC": Op.AUTO_CONTRAST,
    "Eq": Op.EQUALIZE,
    "Inv": Op.INVERT,
    "Pos": Op.POSTERIZE,
    "Sol": Op.SOLARIZE,
    "Con": Op.CONTRAST,
    "Bri": Op.BRIGHTNESS,
    "Col": Op.COLOUR,
    "Sha": Op.SHARPNESS,
    "Cut": Op.CUTOUT,
}
# Each sub-policy has two operations, each written as "name probability/level".
WRITTEN = {
    "imagenet": """
        Pos 0.4/8 Rot 0.6/9, Sol 0.6/5 AC 0.6/5, Eq 0.8/8 Eq 0.6/3, Pos 0.6/7 Pos 0.6/6, Eq 0.4/7 Sol 0.2/4,
        Eq 0.4/4 Rot 0.8/8, Sol 0.6/3 Eq 0.6/7, Pos 0.8/5 Eq 1/2, Rot 0.2/3 Sol 0.6/8, Eq 0.6/8 Pos 0.4/6,
        Rot 0.8/8 Col 0.4/0, Rot 0.4/9 Eq 0.6/2, Eq 0/7 Eq 0.8/8, Inv 0.6/4 Eq 1/8, Col 0.6/4 Con 1/8,
        Rot 0.8/8 Col 1/2, Col 0.8/8 Sol 0.8/7, Sha 0.4/7 Inv 0.6/8, ShX 0.6/5 Eq 1/9, Col 0.4/0 Eq 0.6/3,
        Eq 0.4/7 Sol 0.2/4, Sol 0.6/5 AC 0.6/5, Inv 0.6/4 Eq 1/8, Col 0.6/4 Con 1/8, Eq 0.8/8 Eq 0.6/3
    """,
    "cifar10": """
        Inv 0.1/7 Con 0.2/6, Rot 0.7/2 TrX 0.3/9, Sha 0.8/1 Sha 0.9/3, ShY 0.5/8 TrY 0.7/9, AC 0.5/8 Eq 0.9/2,
        ShY 0.2/7 Pos 0.3/7, Col 0.4/3 Bri 0.6/7, Sha 0.3/9 Bri 0.7/9, Eq 0.6/5 Eq 0.5/1, Con 0.6/7 Sha 0.6/5,
        Col 0.7/7 TrX 0.5/8, Eq 0.3/7 AC 0.4/8, TrY 0.4/3 Sha 0.2/6, Bri 0.9/6 Col 0.2/8, Sol 0.5/2 Inv 0/3,
        Eq 0.2/0 AC 0.6/0, Eq 0.2/8 Eq 0.6/4, Col 0.9/9 Eq 0.6/6, AC 0.8/4 Sol 0.2/8, Bri 0.1/3 Col 0.7/0,
        Sol 0.4/5 AC 0.9/3, TrY 0.9/9 TrY 0.7/9, AC 0.9/2 Sol 0.8/3, Eq 0.8/8 Inv 0.1/3, TrY 0.7/9 AC 0.9/1
    """,
    "svhn": """
        ShX 0.9/4 Inv 0.2/3, ShY 0.9/8 Inv 0.7/5, Eq 0.6/5 Sol 0.6/6, Inv 0.9/3 Eq 0.6/3, Eq 0.6/1 Rot 0.9/3,
        ShX 0.9/4 AC 0.8/3, ShY 0.9/8 Inv 0.4/5, ShY 0.9/5 Sol 0.2/6, Inv 0.9/6 AC 0.8/1, Eq 0.6/3 Rot 0.9/3,
        ShX 0.9/4 Sol 0.3/3, ShY 0.8/8 Inv 0.7/4, Eq 0.9/5 TrY 0.6/6, Inv 0.9/4 Eq 0.6/7, Con 0.3/3 Rot 0.8/4,
        Inv 0.8/5 TrY 0/2, ShY 0.7/6 Sol 0.4/8, Inv 0.6/4 Rot 0.8/4, ShY 0.3/7 TrX 0.9/3, ShX 0.1/6 Inv 0.6/5,
        Sol 0.7/2 TrY 0.6/7, ShY 0.8/4 Inv 0.8/8, ShX 0.7/9 TrY 0.8/3, ShY 0.8/5 AC 0.7/3, ShX 0.7/2 Inv 0.1/5
    """,
    "good": """
        Inv 0.1/7 Con 0.2/6, Rot 0.7/2 TrX 0.3/9, Sha 0.8/1 Sha 0.9/3, ShY 0.5/8 TrY 0.7/9, AC 0.5/8 Eq 0.9/2,
        Sol 0.4/5 AC 0.9/3, TrY 0.9/9 TrY 0.7/9, AC 0.9/2 Sol 0.8/3, Eq 0.8/8 Inv 0.1/3, TrY 0.7/9 AC 0.9/1,
        Sol 0.4/5 AC 0/2, TrY 0.7/9 TrY 0.7/9, AC 0.9/0 Sol 0.4/3, Eq 0.7/5 Inv 0.1/3, TrY 0.7/9 TrY 0.7/9,
        Sol 0.4/5 AC 0.9/1, TrY 0.8/9 TrY 0.9/9, AC 0.8/0 TrY 0.7/9, TrY 0.2/7 Col 0.9/6, Eq 0.7/6 Col 0.4/9,
        ShY 0.2/7 Pos 0.3/7, Col 0.4/3 Bri 0.6/7, Sha 0.3/9 Bri 0.7/9, Eq 0.6/5 Eq 0.5/1, Con 0.6/7 Sha 0.6/5,
        Bri 0.3/7 AC 0.5/8, AC 0.9/4 AC 0.5/6, Sol 0.3/5 Eq 0.6/5, TrY 0.2/4 Sha 0.3/3, Bri 0/8 Col 0.8/8,
        Sol 0.2/6 Col 0.8/6, Sol 0.2/6 AC 0.8/1, Sol 0.4/1 Eq 0.6/5, Bri 0/0 Sol 0.5/2, AC 0.9/5 Bri 0.5/3,
        Con 0.7/5 Bri 0/2, Sol 0.2/8 Sol 0.1/5, Con 0.5/1 TrY 0.2/9, AC 0.6/5 TrY 0/9, AC 0.9/4 Eq 0.8/4,
        Bri 0/7 Eq 0.4/7, Sol 0.2/5 Eq 0.7/5, Eq 0.6/8 Col 0.6/2, Col 0.3/7 Col 0.2/4, AC 0.5/2 Sol 0.7/2,
        AC 0.2/0 Eq 0.1/0, ShY 0.6/5 Eq 0.6/5, Bri 0.9/3 AC 0.4/1, Eq 0.8/8 Eq 0.7/7, Eq 0.7/7 Sol 0.5/0,
        Eq 0.8/4 TrY 0.8/9, TrY 0.8/9 TrY 0.6/9, TrY 0.9/0 TrY 0.5/9, AC 0.5/3 Sol 0.3/4, Sol 0.5/3 Eq 0.4/4,
        Col 0.7/7 TrX 0.5/8, Eq 0.3/7 AC 0.4/8, TrY 0.4/3 Sha 0.2/6, Bri 0.9/6 Col 0.2/8, Sol 0.5/2 Inv 0/3,
        AC 0.1/5 Bri 0/0, Cut 0.2/4 Eq 0.1/1, Eq 0.7/7 AC 0.6/4, Col 0.1/8 ShY 0.2/3, ShY 0.4/2 Rot 0.7/0,
        ShY 0.1/3 AC 0.9/5, TrY 0.3/6 Cut 0.3/3, Eq 0.5/0 Sol 0.6/6, AC 0.3/5 Rot 0.2/7, Eq 0.8/2 Inv 0.4/0,
        Eq 0.9/5 Col 0.7/0, Eq 0.1/1 ShY 0.1/3, AC 0.7/3 Eq 0.7/0, Bri 0.5/1 Con 0.1/7, Con 0.1/4 Sol 0.6/5,
        Sol 0.2/3 ShX 0/0, TrX 0.3/0 TrX 0.6/0, Eq 0.5/9 TrY 0.6/7, ShX 0.1/0 Sha 0.5/1, Eq 0.8/6 Inv 0.3/6,
        AC 0.3/9 Cut 0.5/3, ShX 0.4/4 AC 0.9/2, ShX 0/3 Pos 0/3, Sol 0.4/3 Col 0.2/4, Eq 0.1/4 Eq 0.7/6,
        Eq 0.3/8 AC 0.4/3, Sol 0.6/4 AC 0.7/6, AC 0.2/9 Bri 0.4/8, Eq 0.1/0 Eq 0/6, Eq 0.8/4 Eq 0/4,
        Eq 0.5/5 AC 0.1/2, Sol 0.5/5 AC 0.9/5, AC 0.6/1 AC 0.7/8, Eq 0.2/0 AC 0.1/2, Eq 0.6/9 Eq 0.4/4
    """,
}

Step = tuple[Op, float, int]  # operation, probability, level 0..10
POLICIES: dict[str, list[tuple[Step, ...]]] = {
    policy: [
        tuple(
            (SHORT[name], float(numbers.partition("/")[0]), int(numbers.partition("/")[2]))
            for name, numbers in zip(words[::2], words[1::2], strict=True)
        )
        for words in (sub_policy.split() for sub_policy in written.split(","))
    ]
    for policy, written in WRITTEN.items()
}
DRAWS = 4  # per operation: application, side, and the centre of a cutout (two)


@trick(
    paper="Cubuk et al. 2019, appendix A (arXiv:1805.09501); Lee et al. 2020, section 3.2.1 (arXiv:2001.06268)",
    overlaps="its operations change brightness, contrast and colour, as the corruptions brightness and contrast do",
)
class AutoAugment:
    """AutoAugment: two operations for each training image, from one of 25 (or 95) sub-policies found by a search.

    The sub-policy is uniform; each of its operations has its own probability and level l of 0..10: rotate 3 l degrees,
    shear 0.03 l, enhance by 0.1 + 0.18 l (level 5 changes nothing), solarize from 25.6 l; warps go to a random side and
    fill with grey (128), nearest resampling.

    The released code (for TPUs, used by Lee et al.) differs from the paper in ``posterize`` and ``translate``, both
    fields here. Its contrast starts from the number of pixels / 256; here, as in PIL, from the image's mean grey. On
    small images the released translation removes the image (225 px at level 9), and the CIFAR code of the paper's
    authors goes to 10 px instead (0.31 of the side). Lee et al.'s copy of the 17th sub-policy of CIFAR-10 has 0.8 for
    0.6. torchvision enhances to a random side, and posterizes more at a higher level, where the paper posterizes less.

    The trick works on bytes, after crop, flip and jitter. Both papers use it in place of the baseline's colour noise, a
    separate setting that is on for large images: data.jitter=none data.pca=0 switches it off. Its operations overlap
    those of ImageNet-C.
    """

    policy: Literal["imagenet", "cifar10", "svhn", "good"] = "imagenet"
    """data set of the policy's search; good: the 95 sub-policies of Lee et al.'s transfer (found on CIFAR-10)"""
    posterize: Literal["original", "released"] = "original"
    """bits kept at level l: original 4 + 0.4 l, as in the paper; released 0.4 l, black below level 3"""
    translate: Literal["relative", "released"] = "relative"
    """translation at level 10: relative, 0.45 of the side (paper: 150 of 331 px); released, 250 px (cutout 100 px)"""

    def __post_init__(self) -> None:
        for name in ("policy", "posterize", "translate"):
            require_choice(self, name)

    def edits(self, task: Task) -> list[MapImages]:
        return [MapImages(apply=self.apply, draws=1 + 2 * DRAWS)]

    def apply(self, images: UInt8[Tensor, "B 3 H W"], draws: Float[Tensor, "B n"]) -> UInt8[Tensor, "B 3 H W"]:
        ranges = self.ranges(*images.shape[2:])
        plans = [self.plan(row, ranges) for row in draws.tolist()]
        for step in zip(*plans, strict=True):
            images = perform(images, step)
        return images

    def sub_policy(self, draw: float) -> tuple[Step, ...]:
        """Return one of the policy's sub-policies, by a draw in [0, 1)."""
        sub_policies = POLICIES[self.policy]
        return sub_policies[int(draw * len(sub_policies))]

    def plan(self, draws: list[float], ranges: dict[Op, tuple[float, float]]) -> list[Do]:
        """Return the operations on one image: those of its sub-policy that its draws apply."""
        todo = []
        for i, (op, probability, level) in enumerate(self.sub_policy(draws[0])):
            gate, sign, *spot = draws[1 + DRAWS * i : 1 + DRAWS * (i + 1)]
            done = Do(op, amount(op, level / 10, sign, ranges), (spot[0], spot[1]))
            todo.append(done if gate < probability else DO_NOTHING)
        return todo

    def ranges(self, height: int, width: int) -> dict[Op, tuple[float, float]]:
        """Return the amounts at level 0 and at level 10."""
        across, down, square = 0.45 * width, 0.45 * height, 0.45 * width
        if self.translate == "released":
            across, down, square = 250, 250, 100
        return {
            Op.SHEAR_X: (0, 0.3),
            Op.SHEAR_Y: (0, 0.3),
            Op.TRANSLATE_X: (0, across),
            Op.TRANSLATE_Y: (0, down),
            Op.ROTATE: (0, 30),
            Op.POSTERIZE: (4, 8) if self.posterize == "original" else (0, 4),
            Op.SOLARIZE: (0, 256),
            Op.CONTRAST: (0.1, 1.9),
            Op.BRIGHTNESS: (0.1, 1.9),
            Op.COLOUR: (0.1, 1.9),
            Op.SHARPNESS: (0.1, 1.9),
            Op.CUTOUT: (0, square),
        }
