import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bagoftricks.recipe.edits import SetGradient
from bagoftricks.recipe.optimizers import unit_norms
from bagoftricks.recipe.trick import Task, require, trick

EDGE = 1 - 2.0**-23  # nearest to 1 that a draw is taken to be: the normal number there is 5.3, not infinite


@trick(paper="Bisla et al. 2022, low-pass filter SGD (arXiv:2201.08025)")
class WeightPerturbation:
    """Random weight perturbation: the gradient at w + n with Gaussian noise n, instead of at w.

    The noise of each weight has the standard deviation sigma |w_i|, where |w_i| is the norm of its unit: the weights of
    an output channel, or a whole vector. So the loss is smoothed at the scale of the weights. Each step draws one n for
    the whole batch; the paper averages several, each for a part of the batch, and lets their size grow during the run.
    Running statistics of norms are those of the perturbed network.
    """

    sigma: float = 5e-4
    """standard deviation of the noise relative to the norm of a unit's weights, 0 or more"""

    def __post_init__(self) -> None:
        require(self, "sigma", self.sigma >= 0, "0 or more")

    def edits(self, task: Task) -> list[SetGradient]:
        def compute(model: nn.Module, backward: Callable[[], None]) -> None:
            """Fill .grad with the gradient at the perturbed weights; leave the weights as they were."""
            named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            kept = [parameter.detach().clone() for _, parameter in named]
            with torch.no_grad():
                for name, parameter in named:
                    draws = task.noise.common(*parameter.shape, device=parameter.device, place=f"perturb.{name}")
                    parameter.addcmul_(normal_numbers(draws), unit_norms(parameter), value=self.sigma)
            backward()
            with torch.no_grad():
                for (_, parameter), before in zip(named, kept, strict=True):
                    parameter.copy_(before)

        return [SetGradient(compute=compute)]


def normal_numbers(draws: Tensor) -> Tensor:
    """Return the standard normal numbers at these uniform ones in [0, 1)."""
    return torch.erfinv((2 * draws - 1).clamp_(-EDGE, EDGE)).mul_(math.sqrt(2))
