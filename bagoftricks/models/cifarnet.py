"""CifarNet, the network of airbench (Jordan 2024, arXiv:2404.00498), built from parts; narrow, it is one for CPUs.

Shapes: B batch, H height, W width. At widths 24, 64, 256, 256 and 32 pixels: 24x32x32, 64x16x16, 256x8x8, 256x4x4, 256.
"""

from dataclasses import field

import torch.nn.functional as F
from torch import nn

from bagoftricks.errors import TooSmall, UserError
from bagoftricks.models.layers import ConvUnit, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Images, Logits, Part
from bagoftricks.registry import network
from bagoftricks.settings import ModelSettings, positive

CIFARNET_LOGIT_SCALE = 1 / 9  # Jordan's factor of the logits


class CifarNet(nn.Module):
    """Stem, blocks of a pooled convolution and a plain one, global max-pool, a head without bias.

    Nothing of Jordan's that is a trick is in it: whitened patches, the pool before the norm, GELU, frozen scales and
    the identity as a start are switched on. There are no residual branches (airbench96 has some).
    """

    def __init__(self, spec: "CifarNetSettings", num_classes: int, *, image_size: int, parts: Parts) -> None:
        super().__init__()
        stem, *widths = spec.widths
        smallest = 2 ** (len(widths) + 1)  # two pixels remain, one where the stem takes some
        if image_size < smallest:
            raise TooSmall(
                f"image_size={image_size}: {spec.name} needs {smallest} pixels, as it halves the map "
                f"{len(widths)} times"
            )
        site = Site(parts, image_size, stages=len(widths), blocks=len(widths))
        blocks, channels = [], stem
        for stage, width in enumerate(widths, 1):
            here = site.at(f"block{stage}", stage=stage, block=stage - 1)
            pooled = parts[Part.POOLED_CONV](channels, width, here.at("conv1"))
            blocks.append(nn.Sequential(pooled, ConvUnit(width, width, 3, 1, here.at("conv2"))))
            channels = width
        self.stem: nn.Module = parts[Part.STEM](stem, 1, site.at("stem"))
        self.blocks = nn.Sequential(*blocks)
        self.head_drop: nn.Module = parts[Part.HEAD_DROP](site.at("head"))
        self.head = nn.Linear(channels, num_classes, bias=False)
        self.logit_scale: float = parts[Part.LOGIT_SCALE](CIFARNET_LOGIT_SCALE)

    def forward(self, images: Images) -> Logits:
        features = F.adaptive_max_pool2d(self.blocks(self.stem(images)), 1).flatten(1)
        logits: Logits = self.head(self.head_drop(features)) * self.logit_scale
        return logits


@network(kind="cifarnet")
class CifarNetSettings(ModelSettings):
    """CifarNet (Jordan 2024)."""

    widths: list[int] = field(default_factory=lambda: [24, 64, 256, 256])
    """channels of the stem and of each block, which halves the map"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(65_536, **{f"model.widths[{i}]": w for i, w in enumerate(self.widths)})
        if len(self.widths) < 2:
            raise UserError(f"model.widths={self.widths}: must be two or more, as [24,64,256,256]")

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return CifarNet(self, num_classes, image_size=image_size, parts=parts)
