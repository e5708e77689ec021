"""State of a training, as tensors by name and plain values: saved and loaded bit for bit."""

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
    """Return the tensors with ``prefix`` before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, and remove it from the names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def like(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy on ``device`` with the same dtype and the same strides."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device).copy_(tensor)


# --- networks ---


def load_module(module: nn.Module, tensors: Tensors) -> None:
    """Overwrite the values of a network in place. Raises ValueError for tensors of another network."""
    own = module.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or [
        name for name, tensor in tensors.items() if (tensor.shape, tensor.dtype) != (own[name].shape, own[name].dtype)
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors are not of this network, as {wrong[0]}")
    module.load_state_dict(tensors)


# --- optimisers ---


def optimizer_state(optimizer: optim.Optimizer) -> tuple[dict[str, Tensor], list[list[Any]]]:
    """Return the tensors of the optimiser's state, and its entries in order: [parameter, name, value or None].

    The value None stands for a tensor. Parameter groups are left out: the recipe builds them again.
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

    PyTorch's own loading casts tensors to the parameter's dtype and loses their strides; only the device that it
    chooses is used, and the saved tensors are copied there unchanged.
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
    """Return the scale and the steps since it grew, on the device: the scaler's ``state_dict`` waits for it."""
    if not scaler.is_enabled():
        return {}
    state = {"scale": scaler._scale, "growth": scaler._growth_tracker}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def load_scaler(scaler: torch.amp.GradScaler, tensors: Tensors) -> None:
    """Overwrite the scale and the steps since it grew."""
    if tensors:
        saved = {"scale": tensors["scale"].item(), "_growth_tracker": int(tensors["growth"].item())}
        scaler.load_state_dict({**scaler.state_dict(), **saved})
