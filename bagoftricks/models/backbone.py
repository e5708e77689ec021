"""Residual networks as backbones: the feature maps after each stage, and dilation in place of strides.

The reduction of a map is the side of the image divided by the side of the map. Shapes: B batch, C channels, H height,
W width, r reduction.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models.resnet import ResNet
from bagoftricks.models.shapes import forward_shapes

STAGES = ("layer1", "layer2", "layer3", "layer4")  # torchvision's and timm's names
BEFORE_STAGES = {"conv1", "bn1", "relu", "act1", "maxpool"}
PROBE_SIZE = 256  # pixels of the image whose maps are measured: every stride of 2 divides their sides
POOLS = (nn.AvgPool2d, nn.MaxPool2d)


class FeatureMaps(nn.Module):
    """Stem and stages of a network, under the names that they have there: (B C H W) -> a map (B c H/r W/r) per stage.

    ``channels`` and ``strides`` are the c and r of the maps.
    """

    def __init__(self, parts: dict[str, nn.Module], stages: list[nn.Module]) -> None:
        super().__init__()
        for name, module in parts.items():
            self.add_module(name, module)
        self.training = stages[0].training
        self._ends = {name for name, module in self.named_modules() if any(module is stage for stage in stages)}
        self.channels, self.strides = [0], [0]
        self.measure()

    @property
    def image_channels(self) -> int:
        """Return the channels of the images that the first convolution takes."""
        return next(module.in_channels for module in self.modules() if isinstance(module, nn.Conv2d))

    def measure(self) -> None:
        """Note the channels and strides of the maps."""
        maps = forward_shapes(self, PROBE_SIZE)
        self.channels = [each.shape[1] for each in maps]
        self.strides = [PROBE_SIZE // each.shape[2] for each in maps]

    def in_order(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the modules by name as they compute, a container of stages as its stages."""
        for name, part in self.named_children():
            inner = [(f"{name}.{last}", module) for last, module in part.named_children()]
            yield from inner if any(full in self._ends for full, _ in inner) else [(name, part)]

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = images, []
        for name, module in self.in_order():
            x = module(x)
            if name in self._ends:
                maps.append(x)
        return maps


def feature_maps(network: nn.Module) -> FeatureMaps:
    """Return the stem and stages of ``network``, which share its parameters: ours, torchvision's or timm's ResNets.

    Raises UserError for any other network.
    """
    children = dict(network.named_children())
    if isinstance(network, ResNet):
        parts = {name: children[name] for name in ("stem", "pool", "stages")}
        return FeatureMaps(parts, list(network.stages.children()))
    before = list(children)[: list(children).index(STAGES[0])] if STAGES[0] in children else []
    if not before or not BEFORE_STAGES.issuperset(before) or not all(stage in children for stage in STAGES):
        raise UserError(
            f"model: {type(network).__name__} has no stages to take feature maps from; type model=resnet50 or another "
            "ResNet, also of torchvision or timm"
        )
    parts = {name: children[name] for name in (*before, *STAGES)}
    return FeatureMaps(parts, [children[stage] for stage in STAGES])


def dilate(backbone: FeatureMaps, output_stride: int) -> None:
    """Take all strides out that reduce a map by more than ``output_stride``, and dilate what follows them, in place.

    Kernels then read the positions that they would have read, so the kept ones of the shrunk maps are unchanged
    (Chen et al. 2017, arXiv:1706.05587, section 3.1; Yu et al. 2017, arXiv:1705.09914). Averages of shortcuts are
    dilated too, where GluonCV leaves them out and timm lets them average neighbours. Nearest-neighbour enlargement
    (Big-Little) becomes the identity where both maps have the same size. Raises UserError, after the change, for a
    network with layers that can only be computed with a stride.
    """
    if output_stride < backbone.strides[0]:
        least = backbone.strides[0]
        raise UserError(f"output_stride={output_stride}: the first stage has a stride of {least}; type {least} or more")
    for name, (before, after) in _reductions(backbone).items():
        if after > output_stride and not _is_pointwise(module := backbone.get_submodule(name)):
            spacing = max(1, before // output_stride)
            dilated = _dilated(module, spacing)
            if dilated is not module:
                parent, _, last = name.rpartition(".")
                setattr(backbone.get_submodule(parent), last, dilated)
    left = [name for name, (before, after) in _reductions(backbone).items() if before < after > output_stride]
    if left:
        kind = type(backbone.get_submodule(left[0])).__name__
        raise UserError(f"output_stride={output_stride}: {left[0]} ({kind}) works with its stride only; type 32")
    backbone.measure()


class DilatedAverage(nn.Module):
    """Mean over k x k positions that are ``dilation`` apart, at every position: (B C H W) -> (B C H W)."""

    def __init__(self, pool: nn.AvgPool2d, dilation: int) -> None:
        super().__init__()
        (self.kernel, _), (before, _) = _pair(pool.kernel_size), _pair(pool.padding)
        self.dilation, self.pad_counts = dilation, pool.count_include_pad
        self.before, self.after = dilation * before, dilation * (self.kernel - 1 - before)

    def forward(self, x: Tensor) -> Tensor:
        sums = self.sums(x)
        return sums / (self.kernel**2 if self.pad_counts else self.sums(torch.ones_like(x[:1, :1])))

    def sums(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.before, self.after, self.before, self.after))
        ones = x.new_ones(x.shape[1], 1, self.kernel, self.kernel)
        return F.conv2d(padded, ones, dilation=self.dilation, groups=x.shape[1])


def _dilated(module: nn.Module, spacing: int) -> nn.Module:
    """Return a module at stride 1 whose kernel reads positions ``spacing`` apart: ``module`` itself where it can be."""
    if isinstance(module, nn.AvgPool2d):
        return DilatedAverage(module, spacing)
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        (before, _), (apart, _) = _pair(module.padding), _pair(module.dilation)
        module.stride, module.dilation, module.padding = (1, 1), (apart * spacing,) * 2, (before * spacing,) * 2
    elif isinstance(getattr(module, "stride", None), int) and isinstance(getattr(module, "dilation", None), int):
        module.stride, module.dilation = 1, spacing  # type: ignore[assignment]
    return module


def _is_pointwise(module: nn.Module) -> bool:
    """Return True for a 1x1 of stride 1, which has nothing to dilate."""
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride == (1, 1)


def _reductions(backbone: FeatureMaps) -> dict[str, tuple[int, int]]:
    """Return the reductions before and after each module that maps one map to another; maps of one position are left.

    Containers are left out, and so is what computes from means over a map.
    """
    found: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if all(isinstance(each, Tensor) and each.ndim == 4 and each.shape[3] > 1 for each in (*inputs, output)):
                found[name] = PROBE_SIZE // inputs[0].shape[3], PROBE_SIZE // output.shape[3]

        return hook

    leaves = [(name, module) for name, module in backbone.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        forward_shapes(backbone, PROBE_SIZE)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
