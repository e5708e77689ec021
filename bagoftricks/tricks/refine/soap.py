from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bagoftricks.recipe.edits import ParamGroup, ScaleParams, SetOptimizer
from bagoftricks.recipe.optimizers import LightOptimizer
from bagoftricks.recipe.trick import Task, require, trick

SMALLEST = 1e-30  # added to the diagonal of a covariance that may be zero


class SoapOptimizer(LightOptimizer):
    """Adam in the eigenbases of the covariances of each dimension of the gradient, which turn slowly."""

    def __init__(
        self, groups: list[ParamGroup], *, betas: tuple[float, float], eps: float, every: int, largest: int
    ) -> None:
        own = {"betas": betas, "eps": eps, "every": every, "largest": largest}
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, **own})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, grad: Tensor, group: ParamGroup) -> None:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {"steps": 0, "mean": torch.zeros_like(parameter), "mean_square": torch.zeros_like(parameter)}
            self._follow(state, grad, group)
            state |= {f"basis{i}": eigenbasis(state[f"covariance{i}"]) for i in rotated(state, grad.ndim)}
            return
        state["steps"] += 1
        beta1, beta2 = group["betas"]
        bases = [state.get(f"basis{i}") for i in range(grad.ndim)]
        state["mean"].lerp_(grad, 1 - beta1)
        state["mean_square"].lerp_(rotate(grad, bases).square(), 1 - beta2)
        wanted = rotate(state["mean"], bases) / (state["mean_square"].sqrt() + group["eps"])
        correction = (1 - beta2 ** state["steps"]) ** 0.5 / (1 - beta1 ** state["steps"])
        parameter.sub_(rotate(wanted, bases, back=True) * (group["lr"] * correction))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        self._follow(state, grad, group)
        if state["steps"] % group["every"] == 0:
            for dim in rotated(state, grad.ndim):
                turn(state, dim)

    def _follow(self, state: dict[str, Any], grad: Tensor, group: ParamGroup) -> None:
        """Update the covariance of each dimension of a matrix or kernel that is not too large."""
        for dim, size in enumerate(grad.shape):
            if grad.ndim > 1 and size <= group["largest"]:
                rows = grad.movedim(dim, 0).reshape(size, -1)
                covariance = state.setdefault(f"covariance{dim}", grad.new_zeros(size, size))
                covariance.lerp_(rows @ rows.T, 1 - group["betas"][1])


def rotated(state: dict[str, Any], dims: int) -> list[int]:
    """Return the dimensions that have a covariance."""
    return [dim for dim in range(dims) if f"covariance{dim}" in state]


def rotate(tensor: Tensor, bases: list[Tensor | None], *, back: bool = False) -> Tensor:
    """Return the coordinates of ``tensor`` in the bases of its dimensions (columns; None: as it is), or go back."""
    for dim, basis in enumerate(bases):
        if basis is not None:
            tensor = torch.tensordot(tensor, basis, dims=([dim], [1 if back else 0])).movedim(-1, dim)
    return tensor


def eigenbasis(covariance: Tensor) -> Tensor:
    """Return the eigenvectors as columns, that of the largest eigenvalue first."""
    scaled = covariance + SMALLEST * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    vectors: Tensor = torch.linalg.eigh(scaled)[1]
    return vectors.flip(1).contiguous()


def turn(state: dict[str, Any], dim: int) -> None:
    """Take one step of orthogonal iteration towards the eigenbasis, its vectors sorted by their eigenvalues."""
    basis = state[f"basis{dim}"]
    product = state[f"covariance{dim}"] @ basis
    order = (basis * product).sum(0).argsort(descending=True)
    state["mean_square"] = torch.empty_like(state["mean_square"]).copy_(state["mean_square"].index_select(dim, order))
    state[f"basis{dim}"] = torch.linalg.qr(product[:, order])[0].contiguous()


@trick(paper="Vyas et al. 2024, algorithm 3 (arXiv:2409.11321)")
class Soap:
    """SOAP: Adam in the eigenbasis of Shampoo's preconditioner, for matrices and kernels; Adam for the rest.

    Each dimension of a gradient (output, input, height, width of a kernel) has a running covariance. Gradients are
    rotated to the eigenvectors of these, where Adam scales them, and back; the vectors follow by one orthogonal
    iteration every few steps. The first step sets the bases and changes no weight, as in the authors' code. lr and
    weight_decay stay those of SGD: the factors below turn 0.1 into 0.003 and nearly keep lr x weight_decay.
    """

    beta1: float = 0.95
    """decay rate of the running mean of the gradients, in [0, 1)"""
    beta2: float = 0.95
    """decay rate of the running mean squares and covariances, in [0, 1)"""
    eps: float = 1e-8
    """constant added to the root of the mean square"""
    every: int = 10
    """steps between updates of the eigenbases"""
    largest: int = 10_000
    """largest size of a dimension that is rotated; larger ones stay as they are"""
    lr_factor: float = 0.03
    """learning rate as a multiple of lr"""
    weight_decay_factor: float = 33.0
    """weight decay as a multiple of weight_decay"""

    def __post_init__(self) -> None:
        require(self, "beta1", 0 <= self.beta1 < 1, "in [0, 1)")
        require(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        require(self, "eps", self.eps > 0, "positive")
        require(self, "every", self.every > 0, "positive")
        require(self, "largest", self.largest > 0, "positive")
        require(self, "lr_factor", self.lr_factor > 0, "positive")
        require(self, "weight_decay_factor", self.weight_decay_factor >= 0, "0 or more")

    def edits(self, task: Task) -> list[ScaleParams | SetOptimizer]:
        made = partial(
            SoapOptimizer, betas=(self.beta1, self.beta2), eps=self.eps, every=self.every, largest=self.largest
        )
        return [
            ScaleParams(select=lambda module, name: True, lr=self.lr_factor, weight_decay=self.weight_decay_factor),
            SetOptimizer(build=made),
        ]
