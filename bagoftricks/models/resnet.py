"""Residual networks (He et al. 2016) in the plain form A, built from parts.

Shapes: B batch, H height, W width; a stage of width w has w channels (basic) or 4w (bottleneck).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.edits import Images, Logits, Part
from bagoftricks.layers import Norm, closing
from bagoftricks.models.parts import Parts
from bagoftricks.settings import ModelSettings


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first has the stride."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int, norm: Norm, parts: Parts) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), closing(norm(width))
        self.shortcut = make_shortcut(c_in, width, stride, norm, parts)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; ``Part.STRIDE`` says which of the first two has the stride."""

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int, norm: Norm, parts: Parts) -> None:
        super().__init__()
        c_out = width * self.expansion
        stride1, stride2 = parts[Part.STRIDE](stride)
        self.conv1, self.norm1 = nn.Conv2d(c_in, width, 1, stride1, bias=False), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, stride2, 1, bias=False), norm(width)
        self.conv3, self.norm3 = nn.Conv2d(width, c_out, 1, bias=False), closing(norm(c_out))
        self.shortcut = make_shortcut(c_in, c_out, stride, norm, parts)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        y = self.norm3(self.conv3(y))
        return F.relu(y + self.shortcut(x), inplace=True)


def make_shortcut(c_in: int, c_out: int, stride: int, norm: Norm, parts: Parts) -> nn.Module:
    """Identity where the shapes agree, else the projection part."""
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    shortcut: nn.Module = parts[Part.SHORTCUT](c_in, c_out, stride, norm)
    return shortcut


class ResNet(nn.Module):
    """Stem, stages (each later one halves the map and doubles the width), global average, linear head."""

    def __init__(self, spec: ModelSettings, num_classes: int, *, small: bool, parts: Parts) -> None:
        super().__init__()
        block = Basic if spec.block == "basic" else Bottleneck
        norm = nn.BatchNorm2d
        self.stem = parts[Part.STEM](spec.width, 1 if small else 2, norm)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        channels, stages = spec.width, []
        for i, depth in enumerate(spec.depths):
            width, blocks = spec.width * 2**i, []
            for j in range(depth):
                blocks.append(block(channels, width, 2 if i > 0 and j == 0 else 1, norm, parts))
                channels = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Images) -> Logits:
        logits: Logits = self.head(self.stages(self.pool(self.stem(images))).mean((2, 3)))
        return logits
