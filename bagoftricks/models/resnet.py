"""Residual networks (He et al. 2016) in the plain form A, built from parts.

Shapes: B batch, H height, W width; a stage of width w has w channels (basic) or 4w (bottleneck).
"""

from dataclasses import field
from typing import ClassVar

from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models.layers import ConvUnit, Site, closing
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Images, Logits, Part
from bagoftricks.registry import network
from bagoftricks.settings import SMALL_IMAGE, ModelSettings, choose, positive


class ResidualBlock(nn.Module):
    """Shortcut and branch, and the activation of their sum; the subclasses bring the branch's convolutions."""

    expansion: ClassVar[int]

    def close(self, c_in: int, c_out: int, stride: int, site: Site, *, project: bool, last_act: bool) -> None:
        """Build what follows the last convolution, so that the modules are listed in the order they compute."""
        self.norm, self.drop = closing(site.norm(c_out)), site.at("closing").drop(c_out)
        self.gate: nn.Module = site.parts[Part.GATE](c_out, site)
        self.keep: nn.Module = site.parts[Part.BRANCH](site)
        self.shortcut = nn.Identity()
        if project or stride > 1 or c_in != c_out:
            self.shortcut = site.parts[Part.SHORTCUT](c_in, c_out, stride, site.at("shortcut"))
        self.act = site.act() if last_act else nn.Identity()

    def join(self, branch: Tensor, x: Tensor) -> Tensor:
        """Return the block's output from ``branch``, the output of its last convolution, and its input ``x``."""
        y = self.keep(self.gate(self.drop(self.norm(branch))))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


class Basic(ResidualBlock):
    """Two 3x3 convolutions; the first has the stride."""

    expansion = 1

    def __init__(
        self, c_in: int, width: int, stride: int, site: Site, *, project: bool = False, last_act: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = ConvUnit(c_in, width, 3, stride, site.at("conv1"))
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.close(c_in, width, stride, site, project=project, last_act=last_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.conv2(self.conv1(x)), x)


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; ``Part.STRIDE`` says which of the first two has the stride."""

    expansion = 4
    groups: ClassVar[int] = 1
    group_width: ClassVar[int] = 64

    def __init__(
        self, c_in: int, width: int, stride: int, site: Site, *, project: bool = False, last_act: bool = True
    ) -> None:
        super().__init__()
        c_out = width * self.expansion
        stride1, stride2 = site.parts[Part.STRIDE](stride)
        inner = self.groups * (width * self.group_width // 64)  # the width itself for one group of 64
        self.conv1 = ConvUnit(c_in, inner, 1, stride1, site.at("conv1"))
        self.conv2: nn.Module = site.parts[Part.CONV3](inner, inner, stride2, self.groups, site.at("conv2"))
        self.conv3 = nn.Conv2d(inner, c_out, 1, bias=False)
        self.close(c_in, c_out, stride, site, project=project, last_act=last_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.conv3(self.conv2(self.conv1(x))), x)


def bottleneck(groups: int, group_width: int) -> type[Bottleneck]:
    """Return bottlenecks of one cardinality: ResNeXt's (Xie et al. 2017) for more than one group."""
    return type(Bottleneck.__name__, (Bottleneck,), {"groups": groups, "group_width": group_width})


class ResNet(nn.Module):
    """Stem, stages, pooling and a linear head."""

    def __init__(self, spec: "ResNetSettings", num_classes: int, *, image_size: int, parts: Parts) -> None:
        super().__init__()
        small = image_size <= SMALL_IMAGE if spec.stem == "auto" else spec.stem == "small"
        block = Basic if spec.block == "basic" else bottleneck(spec.groups, spec.group_width)
        site = Site(parts, image_size, stages=len(spec.depths), blocks=sum(spec.depths))
        stem = spec.stem_width or spec.width
        self.stem: nn.Module = parts[Part.STEM](stem, 1 if small else 2, site.at("stem"))
        self.pool = nn.Identity() if small else parts[Part.MAX_POOL](stem, site.at("pool"))
        entered = {} if spec.stem_width is None else {"c_in": stem}
        self.stages: nn.Module = parts[Part.LAYOUT](spec.depths, spec.width, block, site, **entered)
        features = block.expansion * spec.width * 2 ** (len(spec.depths) - 1)
        self.head_pool, self.head_drop = parts[Part.HEAD_POOL](), parts[Part.HEAD_DROP](site.at("head"))
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Images) -> Logits:
        features = self.head_pool(self.stages(self.pool(self.stem(images))))
        logits: Logits = self.head(self.head_drop(features))
        return logits


@network(kind="resnet")
class ResNetSettings(ModelSettings):
    """ResNet (He et al. 2016) in the plain form A, with the stride in the first 1x1."""

    block: str = "bottleneck"
    """basic (two 3x3) or bottleneck (1x1, 3x3, 1x1)"""
    depths: list[int] = field(default_factory=lambda: [1, 1, 1, 1])
    """blocks in each stage"""
    width: int = 16
    """channels of the first stage and, without stem_width, of the stem; each later stage has twice as many"""
    stem_width: int | None = None
    """channels of the stem, if other than those of the first stage"""
    groups: int = 1
    """groups of a bottleneck's 3x3; ResNeXt's cardinality if above 1"""
    group_width: int = 64
    """channels of each group in the first stage, at a stage width of 64"""
    stem: str = "auto"
    """imagenet (7x7 stride 2, max-pool), small (3x3 stride 1, no pool), or auto: small up to 64 pixels"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("model.block", self.block, ("basic", "bottleneck"))
        choose("model.stem", self.stem, ("auto", "imagenet", "small"))
        positive(
            65_536, **{"model.width": self.width, "model.groups": self.groups, "model.group_width": self.group_width}
        )
        if self.stem_width is not None:
            positive(65_536, **{"model.stem_width": self.stem_width})
        positive(1000, **{f"model.depths[{i}]": d for i, d in enumerate(self.depths)})
        if not self.depths:
            raise UserError("model.depths=[]: needs at least one stage")
        if self.block == "basic" and (self.groups, self.group_width) != (1, 64):
            name, value = ("groups", self.groups) if self.groups > 1 else ("group_width", self.group_width)
            raise UserError(f"model.{name}={value}: needs model.block=bottleneck; a basic block has no groups")
        if self.width * self.group_width < 64:
            raise UserError(f"model.group_width={self.group_width}: leaves no channel at model.width={self.width}")

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return ResNet(self, num_classes, image_size=image_size, parts=parts)
