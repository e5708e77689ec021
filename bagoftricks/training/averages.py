"""Averages of the weights, and the statistics of their norms."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn, optim

from bagoftricks.recipe.edits import AverageWeights, Images
from bagoftricks.training.state import like


class Average:
    """Average of the trained weights, running statistics included; with ``pull``, it is copied back to them."""

    def __init__(self, model: nn.Module, edit: AverageWeights, optimizer: optim.Optimizer | None = None) -> None:
        self.edit, self.model, self.optimizer = edit, deepcopy(model).requires_grad_(False), optimizer
        self.first, self.every = edit.times()
        self.updates = 0 if self.first == 0 else -1  # -1: the average has not begun
        theirs = model.state_dict(keep_vars=True).values()  # the parameters themselves, as the optimiser knows them
        pairs = list(zip(self.model.state_dict().values(), theirs, strict=True))
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.samples: list[list[Tensor]] = []  # weights at the latest updates, if the average is over a window of them
        if edit.window and self.updates == 0:
            self.sample()

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Move the average towards the trained weights, if an update is due after ``steps_done`` steps."""
        since = steps_done - self.first
        if since < 0 or since % self.every:
            return
        self.updates += 1
        if self.edit.window:
            self.sample()
            for (mine, _), values in zip(self.floats, zip(*self.samples, strict=True), strict=True):
                torch.mean(torch.stack(values), 0, out=mine)
        else:
            weight = 1.0 if self.updates == 0 else self.edit.weight(self.updates)
            torch._foreach_lerp_([mine for mine, _ in self.floats], self.trained(), weight)
        if self.counts:
            torch._foreach_copy_([mine for mine, _ in self.counts], [theirs for _, theirs in self.counts])
        if self.edit.pull:
            torch._foreach_copy_([theirs for _, theirs in self.floats], [mine for mine, _ in self.floats])

    def trained(self) -> list[Tensor]:
        """Return the weights that are averaged, in the order of ``floats``."""
        weights = [theirs for _, theirs in self.floats]
        if self.edit.of is None or self.optimizer is None:
            return weights
        states = [self.optimizer.state.get(theirs) for theirs in weights]  # none of what is not trained
        return [self.edit.of(w, state) if state else w for w, state in zip(weights, states, strict=True)]

    @torch.no_grad()
    def sample(self) -> None:
        """Keep a copy of the trained weights, in place of the oldest one if the window is full."""
        assert self.edit.window is not None
        place = self.updates % self.edit.window
        self.samples[place : place + 1] = [[theirs.clone() for theirs in self.trained()]]

    def sampled(self) -> dict[str, Tensor]:
        """Return the copies by their place in the window and the order of the weights."""
        return {f"{place}.{i}": t for place, sample in enumerate(self.samples) for i, t in enumerate(sample)}

    def load_samples(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the copies with those of ``sampled``."""
        count = len(tensors) // max(1, len(self.floats))
        self.samples = [
            [like(tensors[f"{place}.{i}"], mine.device) for i, (mine, _) in enumerate(self.floats)]
            for place in range(count)
        ]


@torch.no_grad()
def measure_norms(models: Sequence[nn.Module], batches: Iterable[Images]) -> None:
    """Set the batch norms' running statistics to the means over ``batches``, but for frozen ones.

    All other modules are in evaluation mode, so that nothing is dropped or drawn: the statistics are those of the
    evaluated network. Each batch is read once for all models.
    """
    found = [norm for model in models for norm in model.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in found if not hasattr(norm, "frozen")]
    modes, momenta = [model.training for model in models], [norm.momentum for norm in norms]
    for model in models:
        model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
    for count, images in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / count  # the share of this batch in the mean so far
        for model in models:
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for model, mode in zip(models, modes, strict=True):
        model.train(mode)
