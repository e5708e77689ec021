"""ResNet-9, the network of Page's fast CIFAR-10 training (How to Train Your ResNet, 2018 and 2019), built from parts.

Shapes: B batch, H height, W width. At width 64 and 32 pixels: 64x32x32, 128x16x16, 256x8x8, 512x4x4, 512.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import TooSmall
from bagoftricks.models.layers import ConvUnit, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Images, Logits, Part
from bagoftricks.registry import network
from bagoftricks.settings import ModelSettings, positive

SMALLEST_RESNET9 = 8  # pixels: three layers halve the map
PAGE_LOGIT_SCALE = 1 / 8  # Page's factor of the logits


class Residual(nn.Module):
    """x + f(x), f two convolutions with norm and activation; their sum has no activation: (B C H W) -> (B C H W).

    The norms of f are not closing ones: an activation comes between the last one and the sum.
    """

    def __init__(self, channels: int, site: Site) -> None:
        super().__init__()
        units = [ConvUnit(channels, channels, 3, 1, site.at(f"conv{i}")) for i in (1, 2)]
        self.branch = nn.Sequential(*units)
        self.gate: nn.Module = site.parts[Part.GATE](channels, site)
        self.keep: nn.Module = site.parts[Part.BRANCH](site)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.keep(self.gate(self.branch(x)))
        return y


class ResNet9(nn.Module):
    """Stem, three layers that double the width and halve the map, global max-pool, a head without bias."""

    def __init__(self, spec: "ResNet9Settings", num_classes: int, *, image_size: int, parts: Parts) -> None:
        super().__init__()
        if image_size < SMALLEST_RESNET9:
            raise TooSmall(
                f"image_size={image_size}: {spec.name} needs {SMALLEST_RESNET9} pixels, as it halves the map thrice"
            )
        width, site = spec.width, Site(parts, image_size, stages=3, blocks=2)
        layers: list[nn.Module] = []
        for stage in (1, 2, 3):
            here = site.at(f"layer{stage}", stage=stage, block=len(layers) // 2)
            layers.append(parts[Part.POOLED_CONV](width, 2 * width, here))
            width *= 2
            if stage != 2:
                layers.append(Residual(width, here.at("residual")))
        self.stem: nn.Module = parts[Part.STEM](spec.width, 1, site.at("stem"))
        self.layers = nn.Sequential(*layers)
        self.head_drop: nn.Module = parts[Part.HEAD_DROP](site.at("head"))
        self.head = nn.Linear(width, num_classes, bias=False)
        self.logit_scale: float = parts[Part.LOGIT_SCALE](PAGE_LOGIT_SCALE)

    def forward(self, images: Images) -> Logits:
        features = F.adaptive_max_pool2d(self.layers(self.stem(images)), 1).flatten(1)
        logits: Logits = self.head(self.head_drop(features)) * self.logit_scale
        return logits


@network(kind="resnet9")
class ResNet9Settings(ModelSettings):
    """ResNet-9 (Page 2019)."""

    width: int = 64
    """channels of the stem; each of the three layers doubles them"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(65_536, **{"model.width": self.width})

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return ResNet9(self, num_classes, image_size=image_size, parts=parts)
