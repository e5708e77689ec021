"""MobileNet-V1 (Howard et al. 2017, arXiv:1704.04861), built from parts.

Depthwise separable convolutions: a 3x3 on each channel, then a 1x1 across channels, norm and activation after both.
No residual branches, so what acts on those has no effect here. Blocks whose maps have one size are a stage, as in the
ResNets: blocks 6 to 11 are stage 3, 12 and 13 are stage 4.
"""

from torch import Tensor, nn

from bagoftricks.models.layers import ConvNorm, ConvNormAct, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Images, Logits, Part
from bagoftricks.registry import network
from bagoftricks.settings import SMALL_IMAGE, ModelSettings, choose, positive

FULL_WIDTH = 32  # channels of the first convolution at a width multiplier of 1
BLOCKS = (  # (channels at full width, stride) of each separable convolution: table 1
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *[(512, 1)] * 5,
    *((1024, 2), (1024, 1)),
)


class MobileNetV1(nn.Module):
    """A strided 3x3, 13 separable convolutions, pooling and a linear head; ``spec.width`` / 32 is the multiplier.

    On images of up to 64 pixels (or with ``stem=small``) the first 3x3 keeps the resolution, as in the ResNets: the
    map before the pooling is then a sixteenth of the image's side, not a thirty-second.
    """

    def __init__(self, spec: "MobileNetSettings", num_classes: int, *, image_size: int, parts: Parts) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE if spec.stem == "auto" else spec.stem == "small"
        site = Site(parts, image_size, stages=sum(stride > 1 for _, stride in BLOCKS), blocks=len(BLOCKS))
        self.stem = ConvNormAct(parts.channels, spec.width, 3, 1 if small else 2, site.at("stem"))
        channels, stage, blocks = spec.width, 0, []
        for number, (full, stride) in enumerate(BLOCKS):
            width, stage = full * spec.width // FULL_WIDTH, stage + (stride > 1)
            here = site.at(f"block{number + 1}", block=number, stage=stage)
            blocks.append(depthwise_separable(channels, width, stride, here))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head_pool, self.head_drop = parts[Part.HEAD_POOL](), parts[Part.HEAD_DROP](site.at("head"))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Images) -> Logits:
        features: Tensor = self.head_pool(self.blocks(self.stem(images)))
        logits: Logits = self.head(self.head_drop(features))
        return logits


def depthwise_separable(c_in: int, c_out: int, stride: int, site: Site) -> nn.Sequential:
    """Return a depthwise 3x3 with the stride, then a 1x1: (B c_in H W) -> (B c_out H/s W/s).

    A drop of feature maps follows the norm of the 1x1, and a channel gate its activation.
    """
    depthwise = ConvNormAct(c_in, c_in, 3, stride, site.at("depthwise"), groups=c_in)
    pointwise = ConvNorm(c_in, c_out, 1, 1, site.at("pointwise"))
    pointwise.extend([site.drop(c_out), site.act(), site.parts[Part.GATE](c_out, site)])
    return nn.Sequential(depthwise, pointwise)


@network(kind="mobilenet_v1")
class MobileNetSettings(ModelSettings):
    """MobileNet-V1 (Howard et al. 2017)."""

    width: int = 32
    """channels of the stem; 32 for a width multiplier of 1.0"""
    stem: str = "auto"
    """imagenet (stride 2), small (stride 1), or auto: small up to 64 pixels"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("model.stem", self.stem, ("auto", "imagenet", "small"))
        positive(65_536, **{"model.width": self.width})

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return MobileNetV1(self, num_classes, image_size=image_size, parts=parts)
