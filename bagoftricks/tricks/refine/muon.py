from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.recipe.edits import ParamGroup, ScaleParams, SetOptimizer
from bagoftricks.recipe.optimizers import LightOptimizer
from bagoftricks.recipe.trick import Task, require, trick

QUINTIC = (3.4445, -4.7750, 2.0315)  # p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5 lifts singular values towards 1
SGD_MOMENTUM = 0.9  # momentum of all other parameters, as in the baseline


def is_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4


def orthogonalise(matrices: Float[Tensor, "n rows columns"], steps: int) -> Float[Tensor, "n rows columns"]:
    """Return nearly U V^T of each U S V^T, all at once: the singular values end between about 0.7 and 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    x = iterated(x.bfloat16(), steps).to(matrices.dtype) if x.is_cuda else polynomial_of_gram(x, steps) @ x
    return x.mT if tall else x


def iterated(x: Float[Tensor, "n rows columns"], steps: int) -> Float[Tensor, "n rows columns"]:
    """Return x after ``steps`` times x <- (a + b X + c X^2) x with X = x x^T."""
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def polynomial_of_gram(x: Float[Tensor, "n rows columns"], steps: int) -> Float[Tensor, "n rows rows"]:
    """Return Q, with Q x = ``iterated(x, steps)``: its factors are polynomials of x x^T, which commute.

    Only square matrices are multiplied again and again: with nine times as many columns as rows, as kernels of 3x3
    have, it takes half the time. In fp32 five steps agree to 1e-3; bf16 would lose the small singular values, which
    x x^T has squared.
    """
    a, b, c = QUINTIC
    gram = product = x @ x.mT
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor @ product if step else factor
        gram = factor @ gram @ factor if step + 1 < steps else gram
    return product


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


class MuonAndSgd(LightOptimizer):
    """Muon for the kernels of convolutions as (out, in height width) matrices, Nesterov momentum for the rest."""

    def __init__(self, groups: list[ParamGroup], *, momentum: float, steps: int, normalise: bool) -> None:
        own = {"momentum": momentum, "steps": steps, "normalise": normalise}
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, **own})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if kernels := [p for p in params if is_kernel(p)]:
                self._orthogonal_step(kernels, group)
            if others := [p for p in params if not is_kernel(p)]:
                self._nesterov_step(others, group)

    def _orthogonal_step(self, kernels: list[Tensor], group: ParamGroup) -> None:
        lr, momentum = group["lr"], group["momentum"]
        grads, buffers = gradients(kernels), [self._buffer(p) for p in kernels]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        wanted = torch._foreach_lerp(grads, buffers, momentum)
        if group["normalise"]:
            torch._foreach_div_(kernels, torch._foreach_add(torch._foreach_norm(kernels), 1e-7))
            torch._foreach_mul_(kernels, [len(p) ** 0.5 for p in kernels])
        if group["weight_decay"]:
            torch._foreach_mul_(kernels, 1 - lr * group["weight_decay"])
        alike: dict[tuple[int, int], list[int]] = {}
        for i, kernel in enumerate(kernels):
            alike.setdefault((len(kernel), kernel[0].numel()), []).append(i)
        for (rows, columns), chosen in alike.items():
            made = orthogonalise(torch.stack([wanted[i].reshape(rows, columns) for i in chosen]), group["steps"])
            made.mul_(-lr * max(1, rows / columns) ** 0.5)
            torch._foreach_add_(
                [kernels[i] for i in chosen],
                [matrix.view(kernels[i].shape) for i, matrix in zip(chosen, made, strict=True)],
            )

    def _nesterov_step(self, params: list[Tensor], group: ParamGroup) -> None:
        pull = torch._foreach_add(gradients(params), params, alpha=group["weight_decay"])
        buffers = [self._buffer(p) for p in params]
        torch._foreach_mul_(buffers, SGD_MOMENTUM)
        torch._foreach_add_(buffers, pull)
        torch._foreach_add_(pull, buffers, alpha=SGD_MOMENTUM)
        if isinstance(group["lr"], Tensor):  # of a recorded step; the sum below takes plain numbers only
            torch._foreach_add_(params, torch._foreach_mul(pull, -group["lr"]))
        else:
            torch._foreach_add_(params, pull, alpha=-group["lr"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


@trick(paper="Jordan et al. 2024, Muon: An optimizer for hidden layers; Liu et al. 2025 (arXiv:2502.16982)")
class Muon:
    """Muon: the momentum of each convolution kernel, as a matrix, replaced by the nearest orthogonal one.

    A kernel is read as (out, in height width); its momentum U S V^T becomes U V^T sqrt(max(1, rows / columns)), nearly,
    by five Newton-Schulz steps (fp32, bf16 on a GPU). Its decay is decoupled as in AdamW, and the default factors
    keep lr x weight_decay. The head, biases and norms are trained as in the baseline. airbench (Jordan
    2024) trains CIFAR-10 with momentum=0.6, normalise=true and a learning rate of 0.24 for the kernels.
    """

    lr_factor: float = 0.2
    """learning rate of the convolution kernels as a multiple of lr: 0.02 for 0.1"""
    weight_decay_factor: float = 5.0
    """weight decay of the convolution kernels as a multiple of weight_decay"""
    momentum: float = 0.95
    """momentum mu of the convolution kernels, in [0, 1): m <- mu m + (1 - mu) g, used as mu m + (1 - mu) g"""
    steps: int = 5
    """number of Newton-Schulz steps"""
    normalise: bool = False
    """rescaling of each kernel to the norm sqrt(out) before each step, as in airbench"""

    def __post_init__(self) -> None:
        require(self, "lr_factor", self.lr_factor > 0, "positive")
        require(self, "weight_decay_factor", self.weight_decay_factor >= 0, "0 or more")
        require(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)")
        require(self, "steps", 0 < self.steps <= 100, "in 1..100")

    def edits(self, task: Task) -> list[ScaleParams | SetOptimizer]:
        made = partial(MuonAndSgd, momentum=self.momentum, steps=self.steps, normalise=self.normalise)
        scale = ScaleParams(select=owns_kernel, lr=self.lr_factor, weight_decay=self.weight_decay_factor)
        return [scale, SetOptimizer(build=made)]


def owns_kernel(module: nn.Module, name: str) -> bool:
    return is_kernel(getattr(module, name))
