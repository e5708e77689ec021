"""Pieces of networks that several tricks and models share."""

from collections.abc import Callable

from torch import Tensor, nn

from bagoftricks.edits import Role, mark

Norm = Callable[[int], nn.Module]


def stride_on_1x1(stride: int) -> tuple[int, int]:
    """A bottleneck's strides in the plain form A (He et al. 2016): the first 1x1 skips 3/4 of its input."""
    return stride, 1


def stride_on_3x3(stride: int) -> tuple[int, int]:
    """A bottleneck's strides in the form B (He et al. 2019, figure 2a): every input position is read."""
    return 1, stride


class ConvNorm(nn.Sequential):
    """Convolution without bias, padded to keep the size at stride 1, then norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, norm: Norm) -> None:
        super().__init__(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), norm(c_out))


class PlainStem(nn.Sequential):
    """7x7 for a stride of 2 (ImageNet), 3x3 for a stride of 1 (small images): (B 3 H W) -> (B width H/s W/s)."""

    def __init__(self, width: int, stride: int, norm: Norm) -> None:
        super().__init__(*ConvNorm(3, width, 7 if stride > 1 else 3, stride, norm), nn.ReLU(inplace=True))


class DeepStem(nn.Sequential):
    """Three 3x3 convolutions of width/2, width/2 and width, the first with the stride (He et al. 2019, figure 2b)."""

    def __init__(self, width: int, stride: int, norm: Norm) -> None:
        sizes = [(3, width // 2, stride), (width // 2, width // 2, 1), (width // 2, width, 1)]
        layers = [(*ConvNorm(c_in, c_out, 3, s, norm), nn.ReLU(inplace=True)) for c_in, c_out, s in sizes]
        super().__init__(*[layer for group in layers for layer in group])


class ConvShortcut(nn.Module):
    """Projection by a strided 1x1: (B c_in H W) -> (B c_out H/s W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(c_in, c_out, 1, stride, bias=False), norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


def closing(norm: nn.Module) -> nn.Module:
    """Declare ``norm`` the last of its residual branch."""
    return mark(norm, Role.CLOSING_NORM)
