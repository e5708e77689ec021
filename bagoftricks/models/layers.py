"""Pieces of networks that several tricks and models share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from bagoftricks.recipe.edits import Part, Role, mark

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@runtime_checkable
class Builds(Protocol):
    """The constructor of each part, and the channels of the images."""

    channels: int

    def __getitem__(self, part: Part) -> Callable[..., Any]: ...


@dataclass(frozen=True, slots=True)
class Site:
    """Place of a part in the network, and the parts that it is itself made of.

    Stages count from 1 (the papers' conv2_x); the stem is stage 0. ``path`` is unique to the place, so that it can
    name a stream of draws.
    """

    parts: Builds
    image_size: int
    path: str = "net"
    stage: int = 0
    stages: int = 4
    block: int = 0  # residual blocks that come before, in all stages
    blocks: int = 1  # residual blocks of the network

    def at(self, name: str, **facts: int) -> "Site":
        """Return the place called ``name`` below this one."""
        return replace(self, path=f"{self.path}.{name}", **facts)  # type: ignore[arg-type]

    @property
    def channels(self) -> int:
        """Channels of the images that the network sees: 3, or 1."""
        return self.parts.channels

    def norm(self, channels: int) -> nn.Module:
        module: nn.Module = self.parts[Part.NORM](channels)
        return module

    def act(self) -> nn.Module:
        module: nn.Module = self.parts[Part.ACT]()
        return module

    def drop(self, channels: int) -> nn.Module:
        module: nn.Module = self.parts[Part.DROP](channels, self)
        return module

    def down(self, channels: int, stride: int) -> tuple[int, nn.Module]:
        """Return the stride that a convolution keeps, and the module after it that does the rest."""
        after = None if stride == 1 else self.parts[Part.DOWN](channels, stride, self)
        return (stride, nn.Identity()) if after is None else (1, after)


@runtime_checkable
class MakeBlock(Protocol):
    """Builds one residual block: (B c_in H W) -> (B expansion*width H/stride W/stride)."""

    expansion: int

    def __call__(
        self, c_in: int, width: int, stride: int, site: Site, *, project: bool = False, last_act: bool = True
    ) -> nn.Module:
        """``project``: a projection shortcut even where the shapes agree; ``last_act``: activation after the sum."""


def stride_on_1x1(stride: int) -> tuple[int, int]:
    """Return a bottleneck's strides in the plain form A (He et al. 2016): the first 1x1 skips 3/4 of its input."""
    return stride, 1


def stride_on_3x3(stride: int) -> tuple[int, int]:
    """Return a bottleneck's strides in the form B (He et al. 2019, figure 2a): every input position is read."""
    return 1, stride


class ConvNorm(nn.Sequential):
    """Convolution without bias, padded to keep the size at stride 1, then norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, site: Site, *, groups: int = 1) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, site.norm(c_out))


class ConvNormAct(ConvNorm):
    """The same, then activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, site: Site, *, groups: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, site, groups=groups)
        self.append(site.act())


class ConvUnit(nn.Module):
    """Convolution, norm, drop, activation, and what downsamples in its place: (B c_in H W) -> (B c_out H/s W/s)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, site: Site, *, groups: int = 1) -> None:
        super().__init__()
        stride, self.down = site.down(c_out, stride)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm, self.drop, self.act = site.norm(c_out), site.drop(c_out), site.act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.act(self.drop(self.norm(self.conv(x)))))
        return y


def conv3(c_in: int, c_out: int, stride: int, groups: int, site: Site) -> ConvUnit:
    """Return a bottleneck's 3x3 convolution in its plain form."""
    return ConvUnit(c_in, c_out, 3, stride, site, groups=groups)


class PlainStem(nn.Sequential):
    """7x7 for a stride of 2 (ImageNet), 3x3 for a stride of 1 (small images): (B C H W) -> (B width H/s W/s)."""

    def __init__(self, width: int, stride: int, site: Site) -> None:
        super().__init__(*ConvNormAct(site.channels, width, 7 if stride > 1 else 3, stride, site))


class DeepStem(nn.Sequential):
    """Three 3x3 convolutions of width/2, width/2 and width, the first with the stride (He et al. 2019, figure 2b)."""

    def __init__(self, width: int, stride: int, site: Site) -> None:
        sizes = [(site.channels, width // 2, stride), (width // 2, width // 2, 1), (width // 2, width, 1)]
        layers = [ConvNormAct(c_in, c_out, 3, s, site) for c_in, c_out, s in sizes]
        super().__init__(*[layer for group in layers for layer in group])


class ConvShortcut(nn.Module):
    """Projection by a strided 1x1: (B c_in H W) -> (B c_out H/s W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, site: Site) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(c_in, c_out, 1, stride, bias=False), site.norm(c_out)
        self.drop = site.drop(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(self.norm(self.conv(x)))
        return y


class PooledConv(nn.Sequential):
    """A 3x3 convolution, norm and activation, then a 2x2 max-pool: (B c_in H W) -> (B c_out H/2 W/2)."""

    def __init__(self, c_in: int, c_out: int, site: Site) -> None:
        super().__init__(*ConvNormAct(c_in, c_out, 3, 1, site), nn.MaxPool2d(2))


class GlobalAverage(nn.Module):
    """Mean over the map: (B C H W) -> (B C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def closing(norm: nn.Module) -> nn.Module:
    """Declare ``norm`` the last of its residual branch."""
    return mark(norm, Role.CLOSING_NORM)
