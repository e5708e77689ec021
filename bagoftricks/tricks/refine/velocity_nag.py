from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bagoftricks.recipe.edits import ParamGroup, SetOptimizer
from bagoftricks.recipe.optimizers import LightOptimizer
from bagoftricks.recipe.trick import Task, require, trick


class VelocityNesterov(LightOptimizer):
    """Nesterov momentum with the learning rate inside the velocity: v is a length, not a gradient."""

    def __init__(self, groups: list[ParamGroup], *, momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params if p.grad is not None]
            if not params:
                continue
            pull = torch._foreach_add(grads, params, alpha=group["weight_decay"])
            torch._foreach_mul_(pull, -group["lr"])
            velocities = [self._velocity(p) for p in params]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, pull)
            torch._foreach_add_(params, pull)
            torch._foreach_add_(params, velocities, alpha=group["momentum"])

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity: Tensor = state["velocity"]
        return velocity


@trick(paper="Page 2018, How to Train Your ResNet 2; Sutskever et al. 2013 (PMLR 28)")
class VelocityNag:
    """Nesterov momentum with the rate in the velocity: v <- mu v - lr (g + wd w), w <- w + mu v - lr (g + wd w).

    MXNet's NAG (the released code of He et al. 2019) and Page's code have this form. It equals the baseline while the
    learning rate is constant. After a drop of the rate, this velocity keeps its length; PyTorch's shrinks too.
    """

    momentum: float = 0.9
    """momentum mu, in [0, 1)"""

    def __post_init__(self) -> None:
        require(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)")

    def edits(self, task: Task) -> list[SetOptimizer]:
        return [SetOptimizer(build=partial(VelocityNesterov, momentum=self.momentum))]
