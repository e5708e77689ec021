"""Optimisers of torch that do not import its compiler, and the norms of their parameters.

torch keeps the methods of its optimisers out of compiled code, for which each of them imports torch._dynamo when it is
first called: as long as torch itself takes. Nothing here compiles an optimiser, so the methods are used as they are.
"""

from collections.abc import Callable
from inspect import unwrap

import torch
from torch import Tensor, optim


class LightOptimizer(optim.Optimizer):
    """Optimiser whose methods, but for ``step``, are those that torch wraps."""

    add_param_group = unwrap(optim.Optimizer.add_param_group)
    zero_grad = unwrap(optim.Optimizer.zero_grad)
    state_dict = unwrap(optim.Optimizer.state_dict)
    load_state_dict = unwrap(optim.Optimizer.load_state_dict)


class LightSgd(LightOptimizer, optim.SGD):
    """SGD of torch."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss: float | None = unwrap(optim.SGD.step)(self, closure)
        return loss


class LightAdamW(LightOptimizer, optim.AdamW):
    """AdamW of torch."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss: float | None = unwrap(optim.AdamW.step)(self, closure)
        return loss


def unit_norms(tensor: Tensor) -> Tensor:
    """Return the L2 norm of each row of a matrix or kernel, or of a whole vector, in a shape that broadcasts."""
    dims = tuple(range(1, tensor.ndim)) if tensor.ndim > 1 else None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
    return norms
