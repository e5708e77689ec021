"""The composed training procedure: plain values and callables.

Where a claim can turn out to touch nothing in a given network, the claim keeps the name of its trick, for the error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn, optim

from bagoftricks.recipe.edits import (
    AverageWeights,
    Batch,
    FreezeParams,
    InitFromImages,
    InitParams,
    Logits,
    LossFn,
    MapImages,
    ParamGroup,
    Part,
    Predict,
    ScaleParams,
    SetFlip,
    SetPrecision,
    SetTeacher,
    SetTestSize,
    Targets,
)
from bagoftricks.rng import Key
from bagoftricks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    parts: Mapping[Part, tuple[tuple[str | None, Callable[..., Any]], ...]]  # None: nobody needs the part to be built
    inits: tuple[tuple[str, InitParams], ...]
    image_inits: tuple[tuple[str, InitFromImages], ...]
    frozen: tuple[tuple[str, FreezeParams], ...]
    map_images: tuple[str, MapImages] | None
    flip: tuple[str, SetFlip] | None
    map_batch: tuple[tuple[str, Callable[[Batch, Key], Batch]], ...]
    reads: int  # batches the loader reads for one update
    map_targets: tuple[Callable[[Targets], Targets], ...]
    loss: LossFn
    loss_weight: float
    loss_terms: tuple[Callable[[Logits, Batch], Tensor], ...]
    teacher: SetTeacher | None
    micro_batch: int | None  # images of which the gradient is computed at a time
    param_scales: tuple[tuple[str, ScaleParams], ...]
    schedule: Callable[[int], float]  # step -> factor of the peak learning rate
    precision: SetPrecision | None
    gradient: Callable[[nn.Module, Callable[[], None]], object]
    map_grads: tuple[Callable[[list[Tensor]], None], ...]
    averages: tuple[tuple[str, AverageWeights], ...]
    test_size: SetTestSize | None
    wrap_predict: tuple[Callable[[Predict], Predict], ...]
    optimizer: Callable[[list[ParamGroup]], optim.Optimizer]


def test_pixels(settings: Settings, recipe: Recipe) -> int:
    """The side of the images that the network is evaluated, counted and timed on."""
    return recipe.test_size.size if recipe.test_size else settings.pixels
