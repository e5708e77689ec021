"""The composed training procedure: plain values and callables.

Where a claim can turn out to touch nothing in a given network, the claim keeps the name of its trick, for the error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn, optim

from bagoftricks.edits import Batch, InitParams, Logits, LossFn, Part, Predict, ScaleParams, SetPrecision, Targets
from bagoftricks.rng import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    parts: Mapping[Part, tuple[str, Callable[..., Any]]]
    inits: tuple[tuple[str, InitParams], ...]
    map_batch: tuple[tuple[str, Callable[[Batch, Key], Batch]], ...]
    reads: int  # batches the loader reads for one update
    map_targets: tuple[Callable[[Targets], Targets], ...]
    loss: LossFn
    loss_terms: tuple[Callable[[Logits, Batch], Tensor], ...]
    param_scales: tuple[tuple[str, ScaleParams], ...]
    schedule: Callable[[int], float]  # step -> factor of the peak learning rate
    precision: SetPrecision | None
    gradient: Callable[[nn.Module, Callable[[], Tensor]], object]
    map_grads: tuple[Callable[[list[Tensor]], None], ...]
    averages: tuple[tuple[str, float], ...]
    wrap_predict: tuple[Callable[[Predict], Predict], ...]
    optimizer: Callable[[list[dict[str, Any]]], optim.Optimizer]
