"""The composed training procedure: plain values and callables.

Edits that may select nothing in a given network keep the name of their trick, for the error message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn, optim

from bagoftricks.recipe.edits import (
    AverageWeights,
    Batch,
    FreezeParams,
    FreezeStatistics,
    InitFromImages,
    InitParams,
    Logits,
    LossFn,
    MapGrads,
    MapImages,
    ParamGroup,
    Part,
    Predict,
    RepeatImages,
    ScaleParams,
    SetFlip,
    SetNormMomentum,
    SetPrecision,
    SetSampling,
    SetTeacher,
    SetTestSize,
    Targets,
)
from bagoftricks.rng import Key
from bagoftricks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Merged edits of all tricks of a run: everything that the trainer and the loaders vary."""

    parts: Mapping[Part, tuple[tuple[str | None, Callable[..., Any]], ...]]  # None: the part may stay unused
    inits: tuple[tuple[str, InitParams], ...]
    image_inits: tuple[tuple[str, InitFromImages], ...]
    frozen: tuple[tuple[str, FreezeParams], ...]
    frozen_statistics: tuple[tuple[str, FreezeStatistics], ...]
    norm_momentum: tuple[str, SetNormMomentum] | None
    map_images: tuple[str, MapImages] | None
    flip: tuple[str, SetFlip] | None
    sampling: tuple[str, SetSampling] | None
    repeats: tuple[str, RepeatImages] | None
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
    map_grads: tuple[tuple[str, MapGrads], ...]
    averages: tuple[tuple[str, AverageWeights], ...]
    test_size: SetTestSize | None
    wrap_predict: tuple[Callable[[Predict], Predict], ...]
    optimizer: Callable[[list[ParamGroup]], optim.Optimizer]


def test_pixels(settings: Settings, recipe: Recipe) -> int:
    """Return the side in pixels of the images on which the network is evaluated, counted and timed."""
    return recipe.test_size.size if recipe.test_size else settings.pixels
