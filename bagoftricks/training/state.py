"""What a training step depends on, as tensors by name and plain values, taken out and put back bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn, optim

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """Tensors by name, on any device, and values that JSON can hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def with_prefix(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """Each tensor under ``prefix`` and its name."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def like(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on ``device`` with the same type and the same order in memory."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device).copy_(tensor)


# --- networks ---


def load_module(module: nn.Module, tensors: Tensors) -> None:
    """Overwrite the values of a network, in its own memory. Raises ValueError for tensors of another one."""
    own = module.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or [
        name for name, tensor in tensors.items() if (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype)
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors are not of this network, as {wrong[0]}")
    module.load_state_dict(tensors)


# --- optimisers ---


def optimizer_state(optimizer: optim.Optimizer) -> tuple[dict[str, Tensor], list[list[Any]]]:
    """The tensors of each parameter's state, and all its entries in order: [parameter, name, value; None: a tensor].

    Groups and their settings are left out: the recipe makes them again.
    """
    tensors: dict[str, Tensor] = {}
    entries: list[list[Any]] = []
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            is_tensor = isinstance(value, Tensor)
            entries.append([index, name, None if is_tensor else value])
            if is_tensor:
                tensors[f"{index}.{name}"] = value
    return tensors, entries


def load_optimizer(optimizer: optim.Optimizer, tensors: Tensors, entries: list[list[Any]]) -> None:
    """Overwrite the state of a fresh optimiser.

    PyTorch's own loading casts to the parameter's type and forgets the order in memory; it says on which device a
    tensor belongs, the rest is put back as it was.
    """
    state: dict[int, dict[str, object]] = {}
    for index, name, value in entries:
        state.setdefault(index, {})[name] = tensors.get(f"{index}.{name}", value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, name, _ in entries:
        if (tensor := tensors.get(f"{index}.{name}")) is not None:
            own = optimizer.state[parameters[index]]
            own[name] = like(tensor, own[name].device)


# --- loss scaling ---


def scaler_tensors(scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """The scale and the steps since it grew, on the device: the scaler's own ``state_dict`` would wait for it."""
    if not scaler.is_enabled():
        return {}
    found = {"scale": scaler._scale, "growth": scaler._growth_tracker}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def load_scaler(scaler: torch.amp.GradScaler, tensors: Tensors) -> None:
    if tensors:
        kept = {"scale": tensors["scale"].item(), "_growth_tracker": int(tensors["growth"].item())}
        scaler.load_state_dict({**scaler.state_dict(), **kept})
