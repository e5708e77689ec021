"""Heads that classify every pixel, and the network that they make with a backbone.

Dropout is left out of them: the baseline has no trick in it.

Shapes: B batch, K classes, H height and W width of the images, h and w those of a feature map, c its channels.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from bagoftricks.models.backbone import FeatureMaps
from bagoftricks.recipe.edits import NO_CLASS, Images

MakeHead = Callable[[int, int], nn.Module]  # (c, K) -> module: (B c h w) -> (B K h w)


class ConvNormRelu(nn.Sequential):
    """Convolution without bias that keeps the size, batch norm and ReLU: (B c_in h w) -> (B c_out h w)."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, dilation: int = 1) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class FCNHead(nn.Sequential):
    """A 3x3 to a quarter of the channels and a 1x1 (Long et al. 2015, in the form of PyTorch's models)."""

    def __init__(self, c_in: int, classes: int) -> None:
        super().__init__(ConvNormRelu(c_in, c_in // 4, 3), nn.Conv2d(c_in // 4, classes, 1))


class PSPHead(nn.Module):
    """Pyramid pooling (Zhao et al. 2017, arXiv:1612.01105, section 3.2): (B c h w) -> (B K h w).

    Averages over 1, 2, 3 and 6 bins a side go through a 1x1 to c/4 channels each, are enlarged, and join the map; an
    FCN head follows. The norm of the single bin needs a batch of two images or more.
    """

    def __init__(self, c_in: int, classes: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        narrow = c_in // len(bins)
        self.pools = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(b), ConvNormRelu(c_in, narrow)) for b in bins)
        total = c_in + len(bins) * narrow
        self.fuse = nn.Sequential(ConvNormRelu(total, c_in // 4, 3), nn.Conv2d(c_in // 4, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fuse(torch.cat([x, *(enlarged(pool(x), x.shape[2:]) for pool in self.pools)], 1))
        return y


class DeepLabHead(nn.Module):
    """DeepLab v3 (Chen et al. 2017, arXiv:1706.05587, section 3.3): (B c h w) -> (B K h w).

    A 1x1, three 3x3 with dilations ``rates`` (those for an output stride of 8; 6, 12 and 18 for 16) and the mean over
    the map have ``width`` channels each; a 1x1, a 3x3 and a 1x1 follow. The norm of the mean needs a
    batch of two images or more.
    """

    def __init__(self, c_in: int, classes: int, rates: Sequence[int] = (12, 24, 36), width: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvNormRelu(c_in, width), *(ConvNormRelu(c_in, width, 3, r) for r in rates)])
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormRelu(c_in, width))
        self.project = nn.Sequential(ConvNormRelu((2 + len(rates)) * width, width))
        self.classify = nn.Sequential(ConvNormRelu(width, width, 3), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [*(conv(x) for conv in self.convs), enlarged(self.mean(x), x.shape[2:])]
        y: Tensor = self.classify(self.project(torch.cat(parts, 1)))
        return y


class SegmentationNet(nn.Module):
    """Backbone, a head on its last map and, with ``aux``, an FCN head on the map before, which helps in training.

    Logits have the size of the images, enlarged bilinearly: (B K H W), but in training with ``aux`` (B 2 K H W), those
    of the head first.
    """

    def __init__(self, backbone: FeatureMaps, head: MakeHead, classes: int, *, aux: bool) -> None:
        super().__init__()
        self.backbone, self.image_channels = backbone, backbone.image_channels
        self.head = head(backbone.channels[-1], classes)
        self.aux = FCNHead(backbone.channels[-2], classes) if aux else None

    def forward(self, images: Images) -> Tensor:
        *_, middle, last = self.backbone(images)
        logits = enlarged(self.head(last), images.shape[2:])
        if self.aux is None or not self.training:
            return logits
        return torch.stack([logits, enlarged(self.aux(middle), images.shape[2:])], 1)


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map with ``size`` positions, interpolated bilinearly between the centres of pixels."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def pixel_loss(
    outputs: Float[Tensor, "B *heads K H W"], masks: Integer[Tensor, "B H W"], aux_weight: float = 0.4
) -> Float[Tensor, ""]:
    """Return the mean cross entropy of the pixels in nats, and ``aux_weight`` times that of an auxiliary head.

    Pixels of NO_CLASS do not count; a batch of nothing else has a loss of 0. The weight is that of Zhao et al. 2017
    (arXiv:1612.01105, section 5.1).
    """
    if outputs.ndim == 5:
        main, aux = outputs.unbind(1)
        return pixel_loss(main, masks) + aux_weight * pixel_loss(aux, masks)
    labels = masks.long()
    total = F.cross_entropy(outputs, labels, ignore_index=NO_CLASS, reduction="sum")
    return total / (labels != NO_CLASS).sum().clamp(min=1)
