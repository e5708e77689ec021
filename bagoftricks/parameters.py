"""Initialise a network's parameters and sort them into the optimiser's groups."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.edits import InitParams, ScaleParams
from bagoftricks.errors import NoEffectError
from bagoftricks.rng import Key

MATRICES = (nn.modules.conv._ConvNd, nn.Linear)


def owned_parameters(model: nn.Module) -> Iterable[tuple[nn.Module, str, str, nn.Parameter]]:
    """(owning module, name within it, full name, parameter) for each parameter."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield module, name, f"{prefix}.{name}", parameter


@torch.no_grad()
def initialise(model: nn.Module, inits: Sequence[tuple[str, InitParams]], key: Key) -> None:
    """Give every parameter its starting value: the baseline's, then the tricks'.

    Convolutions and linear layers: Xavier uniform, U[-a, a] with a = sqrt(6 / (fan_in + fan_out)), biases 0
    (He et al. 2019, section 2). Each draw is keyed by the parameter's name, so a trick that adds a layer moves no other.
    """
    for module, name, full_name, parameter in owned_parameters(model):
        if isinstance(module, MATRICES):
            if name == "weight":
                nn.init.xavier_uniform_(parameter, generator=key.fold(full_name).generator(parameter.device))
            else:
                nn.init.zeros_(parameter)
    for trick, edit in inits:
        touched = [p for module, name, _, p in owned_parameters(model) if edit.select(module, name)]
        if not touched:
            raise nothing_selected(trick, model, "initialise")
        for parameter in touched:
            edit.init(parameter)


def param_groups(
    model: nn.Module, scales: Sequence[tuple[str, ScaleParams]], *, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """One optimiser group per distinct (learning rate, weight decay). Scales multiply, so their order is irrelevant."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    hits = [0] * len(scales)
    for module, name, _, parameter in owned_parameters(model):
        lr_p, decay_p = lr, weight_decay
        for i, (_, scale) in enumerate(scales):
            if scale.select(module, name):
                lr_p, decay_p, hits[i] = lr_p * scale.lr, decay_p * scale.weight_decay, hits[i] + 1
        groups.setdefault((lr_p, decay_p), []).append(parameter)
    for (trick, _), count in zip(scales, hits, strict=True):
        if not count:
            raise nothing_selected(trick, model, "scale")
    return [{"params": p, "lr": lr_p, "peak_lr": lr_p, "weight_decay": wd} for (lr_p, wd), p in groups.items()]


def nothing_selected(trick: str, model: nn.Module, verb: str) -> NoEffectError:
    return NoEffectError(
        f"trick '{trick}' changes nothing: {type(model).__name__} has no parameter for it to {verb}; "
        f"drop it with ~tricks.{trick}, or choose another model="
    )
