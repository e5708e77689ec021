"""Initialise a network's parameters and sort them into the optimiser's groups."""

from collections.abc import Callable, Iterable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from bagoftricks.errors import ConflictError, NoEffectError
from bagoftricks.recipe.edits import (
    FreezeParams,
    Images,
    InitFromImages,
    InitParams,
    MapGrads,
    ParamGroup,
    ScaleParams,
    Select,
    SetNormMomentum,
)
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.rng import Key

MATRICES = (nn.modules.conv._ConvNd, nn.Linear)
STATISTICS = "running_mean"  # of a norm that has two ways to compute: in training and in evaluation


def owned_parameters(model: nn.Module) -> Iterable[tuple[nn.Module, str, str, nn.Parameter]]:
    """Yield (owning module, name within it, full name, parameter) for each parameter."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield module, name, f"{prefix}.{name}", parameter


@torch.no_grad()
def initialise(model: nn.Module, inits: Sequence[tuple[str, InitParams]], key: Key) -> None:
    """Set every parameter to its initial value: the baseline's, then the tricks'.

    Convolutions and linear layers: Xavier uniform, U[-a, a] with a = sqrt(6 / (fan_in + fan_out)), biases 0
    (He et al. 2019, section 2). Draws are keyed by the parameter's name: an added layer changes no other.
    """
    for module, name, full_name, parameter in owned_parameters(model):
        if isinstance(module, MATRICES):
            if name == "weight":
                _in_one_order(parameter, _xavier, key.fold(full_name))
            else:
                nn.init.zeros_(parameter)
    for trick, edit in inits:
        for module, name, full_name, parameter in owned_parameters(model):
            if edit.select(module, name):
                _in_one_order(parameter, edit.init, key.fold(trick, full_name))


def _xavier(weight: Tensor, key: Key) -> None:
    nn.init.xavier_uniform_(weight, generator=key.generator(weight.device))


def _in_one_order(parameter: Tensor, init: Callable[[Tensor, Key], object], key: Key) -> None:
    """Initialise ``parameter`` with the same draws on any device and in either memory format.

    Draws follow the order in memory, and come from the host's generator.
    """
    values = parameter.cpu() if parameter.is_cuda else parameter
    values = values.contiguous(memory_format=torch.channels_last) if parameter.ndim == 4 else values
    init(values, key)
    parameter.copy_(values)


@torch.no_grad()
def initialise_from_images(
    model: nn.Module, inits: Sequence[tuple[str, InitFromImages]], sample: Callable[[int], Images]
) -> None:
    """Set the parameters that are computed from training images; ``sample`` returns the first n images."""
    for _, edit in inits:
        chosen = [parameter for module, name, _, parameter in owned_parameters(model) if edit.select(module, name)]
        images = sample(edit.images)
        for parameter in chosen:
            edit.init(parameter, images)


def freeze(model: nn.Module, recipe: Recipe) -> None:
    """Set ``requires_grad`` to False for the parameters that keep their initial values; mark norms that are frozen."""
    for _, edit in recipe.frozen:
        for module, name, _, parameter in owned_parameters(model):
            if edit.select(module, name):
                parameter.requires_grad_(False)
    for _, norms in recipe.frozen_statistics:
        for module in norms_of(model):
            if norms.select(module, STATISTICS):
                module.frozen = True  # type: ignore[assignment]


def set_norm_momentum(model: nn.Module, edit: SetNormMomentum) -> None:
    """Set the share of each step's statistics in the running ones of the norms of ``model``."""
    share = edit.share() if callable(edit.share) else edit.share
    for norm in norms_of(model):
        norm.momentum = share  # type: ignore[assignment]


def norms_of(model: nn.Module) -> list[nn.Module]:
    """Return the norms that compute otherwise in training than in evaluation."""
    return [module for module in model.modules() if getattr(module, STATISTICS, None) is not None]


def train_mode(model: nn.Module) -> None:
    """Set ``model`` to training, its frozen norms to evaluation."""
    model.train()
    for norm in norms_of(model):
        if hasattr(norm, "frozen"):
            norm.eval()


def check_selectors(model: nn.Module, recipe: Recipe) -> None:
    """Raise NoEffectError for a trick that selects none of this network's parameters.

    Raises ConflictError if one trick freezes parameters that another one initialises.
    """
    inits: list[tuple[str, InitParams | InitFromImages]] = [*recipe.inits, *recipe.image_inits]
    claims: list[tuple[str, Sequence[tuple[str, InitParams | InitFromImages | ScaleParams | FreezeParams | MapGrads]]]]
    claims = [
        ("initialise", inits),
        ("scale", recipe.param_scales),
        ("freeze", recipe.frozen),
        ("change the gradient of", recipe.map_grads),
    ]
    for verb, made in claims:
        for trick, edit in made:
            if edit.select and not any(edit.select(module, name) for module, name, _, _ in owned_parameters(model)):
                raise NoEffectError(trick, f"{type(model).__name__} has no parameter for it to {verb}")
    if recipe.norm_momentum is not None:
        check_norm_momentum(model, *recipe.norm_momentum)
    for freezer, frozen in recipe.frozen:
        for trick, init in inits:
            if trick != freezer and not frozen.any_start and _overlap(model, frozen.select, init.select):
                why = f"{freezer} freezes what {trick} starts from another value"
                raise ConflictError(freezer, trick, f"the same parameters ({why})")


def check_norm_momentum(model: nn.Module, trick: str, edit: SetNormMomentum) -> None:
    """Raise NoEffectError if ``model`` has no norm with running statistics, or all have this momentum already."""
    norms = norms_of(model)
    if not norms:
        raise NoEffectError(trick, f"{type(model).__name__} has no norm with running statistics")
    if all(getattr(norm, "momentum", None) == edit.share for norm in norms):
        raise NoEffectError(trick, f"the norms of {type(model).__name__} have this momentum without it")


def _overlap(model: nn.Module, one: Select, other: Select) -> bool:
    return any(one(module, name) and other(module, name) for module, name, _, _ in owned_parameters(model))


def param_groups(
    model: nn.Module, scales: Sequence[tuple[str, ScaleParams]], *, lr: float, weight_decay: float
) -> list[ParamGroup]:
    """Return one optimiser group per distinct (learning rate, weight decay), without frozen parameters.

    Scales multiply, so their order does not matter.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for module, name, _, parameter in owned_parameters(model):
        if not parameter.requires_grad:
            continue
        chosen = [scale for _, scale in scales if scale.select(module, name)]
        lr_p = lr * prod(s.lr(module, name) if callable(s.lr) else s.lr for s in chosen)
        decay_p = weight_decay * prod(s.weight_decay for s in chosen)
        groups.setdefault((lr_p, decay_p), []).append(parameter)
    return [{"params": p, "lr": lr_p, "peak_lr": lr_p, "weight_decay": wd} for (lr_p, wd), p in groups.items()]
