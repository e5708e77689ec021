"""Schedule-free training (Defazio et al. 2024): optimisers whose averaged weights take the place of a decaying rate."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bagoftricks.recipe.edits import AverageWeights, ParamGroup
from bagoftricks.recipe.optimizers import LightOptimizer


class ScheduleFree(LightOptimizer):
    """SGD (without ``beta2``) or AdamW on the weights z, with the gradient at y between z and their average x.

    z <- z - lr d, x <- (1 - c) x + c z, y = (1 - beta) z + beta x: the network's weights are y, the state has z, and x
    follows from both. c is the share of this step's squared rate in the sum of all so far, each the largest up to its
    step. The direction d is g + wd y, or g / (root of the mean square + eps) + wd y.
    """

    def __init__(self, groups: list[ParamGroup], *, beta: float, beta2: float | None = None, eps: float = 0.0) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "beta": beta, "beta2": beta2, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            lr, share = self._rate_and_share(group)
            starts = [self._started(p)["z"] for p in params]
            pull = self._directions(params, group)
            torch._foreach_add_(pull, params, alpha=group["weight_decay"])
            towards = torch._foreach_sub(starts, params)
            torch._foreach_mul_(towards, share)
            torch._foreach_add_(params, towards)
            torch._foreach_add_(params, torch._foreach_mul(pull, lr * (group["beta"] * (1 - share) - 1)))
            torch._foreach_sub_(starts, torch._foreach_mul(pull, lr))

    def _rate_and_share(self, group: ParamGroup) -> tuple[Tensor, Tensor]:
        """Return the rate and the share c of z in the average; both stay on the device."""
        state = self._started(group["params"][0])
        if "steps" not in state:
            state |= {name: state["z"].new_zeros(()) for name in ("largest", "squares", "steps")}
        lr = group["lr"] if isinstance(group["lr"], Tensor) else state["z"].new_full((), group["lr"])
        state["largest"].copy_(torch.maximum(state["largest"], lr))
        square = state["largest"].square()
        state["squares"].add_(square)
        state["steps"].add_(1)
        return lr, torch.nan_to_num(square / state["squares"])  # 0 / 0: a warm-up from a rate of 0

    def _directions(self, params: list[Tensor], group: ParamGroup) -> list[Tensor]:
        grads = [p.grad for p in params if p.grad is not None]
        beta2 = group["beta2"]
        if beta2 is None:
            return [grad.clone() for grad in grads]
        for parameter in params:
            if "exp_avg_sq" not in self.state[parameter]:
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        squares = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        steps = self.state[group["params"][0]]["steps"]
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - beta2**steps))
        torch._foreach_add_(roots, group["eps"])
        return list(torch._foreach_div(grads, roots))

    def _started(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["z"] = parameter.detach().clone()
        return state


def averaged(beta: float) -> AverageWeights:
    """Return the edit that evaluates x; batch norms are measured at these weights, which no batch has seen."""

    def x(y: Tensor, state: Mapping[str, Any]) -> Tensor:
        return torch.lerp(y, state["z"], 1 - 1 / beta)

    return AverageWeights(weight=lambda update: 1.0, of=x, refresh_norms=True)
