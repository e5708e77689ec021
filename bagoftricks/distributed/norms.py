"""Synchronise batch norms: statistics of all ranks' images together, on any device.

``torch.nn.SyncBatchNorm`` needs a GPU and changes a module's type; here a batch norm keeps its type and its names.
"""

from functools import cache
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bagoftricks.distributed.world import World
from bagoftricks.errors import UserError

PLAIN = (nn.BatchNorm1d.forward, _BatchNorm.forward)


def synchronise_norms(model: nn.Module, world: World) -> None:
    """Make the batch norms of ``model`` use the statistics of all ranks' images in training, in place.

    A norm over groups of images (it has ``group_images``) keeps to the groups of its rank.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not hasattr(module, "group_images"):
            cls: Any = type(module)
            if cls.forward not in PLAIN and not is_norm_with_act(module):
                raise UserError(
                    f"runtime.devices={world.size}: {cls.__name__} has its own forward pass; type "
                    "runtime.sync_norm=false for statistics per device"
                )
            module.__class__ = synced(cls)
            module.world = world  # type: ignore[assignment]


def check_groups(model: nn.Module, world: World, count: int, micro: int | None) -> None:
    """Raise UserError if the ranks cannot share the norms' groups of images evenly."""
    for size in {int(str(m.group_images)) for m in model.modules() if hasattr(m, "group_images")}:
        for images, _ in world.parts(count, micro):
            groups, rest = divmod(images, size)
            if not rest and groups % world.size:
                raise UserError(
                    f"runtime.devices={world.size}: {groups} groups of {size} images that are normalised "
                    f"together cannot be shared evenly; type runtime.devices={gcd(groups, world.size)}, or other groups"
                )


def is_norm_with_act(module: nn.Module) -> bool:
    """Return True for timm's norms that include drop and activation."""
    return type(module).__module__.startswith("timm.") and hasattr(module, "drop") and hasattr(module, "act")


@cache
def synced(cls: Any) -> Any:
    """Return a subclass of ``cls`` that normalises over all ranks; its evaluation is unchanged."""

    def forward(self: Any, input: Tensor) -> Tensor:
        if not self.training:
            return cls.forward(self, input)  # type: ignore[no-any-return]
        out = normalise(self, input)
        return self.act(self.drop(out)) if hasattr(self, "act") else out

    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})


def normalise(norm: Any, input: Tensor) -> Tensor:
    """Normalise (N C ...) and update the running statistics, as ``torch.nn.BatchNorm2d`` does."""
    out, mean, var, count = Normalise.apply(input, norm.weight, norm.bias, norm.eps, norm.world)
    if norm.track_running_stats and norm.running_mean is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            share = norm.momentum
            if share is None:
                share = norm.num_batches_tracked.to(mean.dtype).reciprocal()
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(var * (count / (count - 1)), share)
    return out  # type: ignore[no-any-return]


class Normalise(torch.autograd.Function):
    """Batch norm over the images of all ranks (Ioffe and Szegedy 2015, algorithm 1), its statistics in fp32.

    The ranks' means and sums of squares about them are merged exactly (Chan, Golub and LeVeque 1983): no difference of
    large numbers. Each direction sends one small message: forward the statistics, backward the two sums that every
    input's gradient depends on. Gradients of weight and bias are those of this rank's images.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        mean, var = torch.batch_norm_update_stats(exact(x), None, None, 0.0)  # on a CPU ten times as fast as var_mean
        count = mean.new_full((1,), x.numel() / channels)
        every = world.all_gather(torch.cat([mean, var, count]))
        means, variances, counts = every.split_with_sizes([channels, channels, 1], 1)
        total = counts.sum(0)
        mean = (means * counts).sum(0) / total
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / total
        ctx.save_for_backward(x, weight, mean, var, total)
        ctx.world, ctx.eps = world, eps
        out = F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, var, total)
        return out, mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, var, total = ctx.saved_tensors
        shape = [1, -1, *[1] * (x.ndim - 2)]
        # As if the statistics were constants: dx, and the sums over dy and over dy times the normalised x.
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            exact(grad), exact(x), weight, mean, var, None, None, False, ctx.eps, [ctx.needs_input_grad[0], True, True]
        )
        if dx is not None:
            dy_mean, slope_mean = ctx.world.all_reduce(torch.stack([d_bias, d_weight])) / total
            scale = torch.rsqrt(var + ctx.eps)
            slope = scale if weight is None else scale * weight
            share = slope * scale * slope_mean
            dx -= torch.addcmul((slope * dy_mean - mean * share).view(shape), exact(x), share.view(shape))
            dx = dx.to(x.dtype)
        return (
            dx,
            d_weight if weight is not None and ctx.needs_input_grad[1] else None,
            d_bias if weight is not None and ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def exact(tensor: Tensor) -> Tensor:
    """Return the tensor in fp32, or unchanged if it is fp64."""
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def own_statistics(model: nn.Module, world: World) -> list[Tensor]:
    """Return the running statistics that differ by rank: those of a rank's own images, or of groups of them."""
    if world.size == 1:
        return []
    same = ("world", "frozen")  # attributes of norms whose statistics are the same on all ranks
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and not any(hasattr(m, name) for name in same)]
    return [s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None]
