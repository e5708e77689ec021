"""A network in one file (and its YAML in model/): VGG-11 with batch norm, built from parts."""

from torch import nn

from bagoftricks.errors import TooSmall
from bagoftricks.models.layers import ConvUnit, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Images, Logits, Part
from bagoftricks.registry import network
from bagoftricks.settings import ModelSettings, positive

STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # multiples of the width; each stage ends with a 2x2 max-pool
SMALLEST = 32  # pixels: five stages halve the map


@network(kind="vgg11")
class VGG11(ModelSettings):
    """VGG-11 (Simonyan and Zisserman 2015) with batch norm, global pooling and one linear layer."""

    width: int = 64
    """channels of the first convolution"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(**{"model.width": self.width})

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        if image_size < SMALLEST:
            raise TooSmall(
                f"image_size={image_size}: {self.name} needs {SMALLEST} pixels, as it halves the map 5 times"
            )
        return VGG(self.width, num_classes, Site(parts, image_size, stages=len(STAGES)))


class VGG(nn.Module):
    """Stages of 3x3 convolutions, then pooling and a linear head: (B 3 H W) -> (B K)."""

    def __init__(self, width: int, num_classes: int, site: Site) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, multiples in enumerate(STAGES, 1):
            for number, multiple in enumerate(multiples, 1):
                here = site.at(f"stage{stage}.conv{number}", stage=stage)
                layers.append(ConvUnit(channels, multiple * width, 3, 1, here))
                channels = multiple * width
            layers.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*layers)
        self.head_pool = site.parts[Part.HEAD_POOL]()
        self.head_drop = site.parts[Part.HEAD_DROP](site.at("head"))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Images) -> Logits:
        logits: Logits = self.head(self.head_drop(self.head_pool(self.stages(images))))
        return logits
