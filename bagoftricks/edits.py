"""Everything a trick may touch.

A trick never sees the trainer, the model or another trick. It returns edits; ``compose`` merges them by the rule
printed next to each class. A trick that needs a new kind of edit is a change of the architecture: write an ADR.

Shapes: B batch, K classes, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn, optim

from bagoftricks.rng import Key

Images: TypeAlias = Float[Tensor, "B 3 H W"]
Logits: TypeAlias = Float[Tensor, "B K"]
Targets: TypeAlias = Float[Tensor, "B K"]  # always a distribution (docs/adr/0002)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with their targets; every map of a batch keeps the two aligned."""

    images: Images
    targets: Targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor | slice) -> "Batch":
        return Batch(self.images[rows], self.targets[rows])

    def blend(self, other: "Batch", weight: float | Float[Tensor, " B"]) -> "Batch":
        """``weight * self + (1 - weight) * other``, images and targets alike; one weight, or one for each row."""

        def lerp(a: Tensor, b: Tensor) -> Tensor:
            w = weight.view(-1, *[1] * (a.ndim - 1)) if isinstance(weight, Tensor) else weight
            return torch.lerp(b, a, w)

        return Batch(lerp(self.images, other.images), lerp(self.targets, other.targets))


class Part(Enum):
    """A replaceable constructor of the network, with the arguments the network calls it with."""

    STEM = "stem"  # (width, stride, norm) -> Module: (B 3 H W) -> (B width H/stride W/stride)
    SHORTCUT = "shortcut"  # (c_in, c_out, stride, norm) -> Module: a projection shortcut
    STRIDE = "bottleneck stride"  # (stride) -> (stride of a bottleneck's first 1x1, stride of its 3x3)


class Role(Enum):
    """What a module is to its block: tricks select parameters by role or by module type, never by name."""

    CLOSING_NORM = "closing_norm"  # the last norm of a residual branch, before the addition


class BatchPhase(IntEnum):
    """Order of the batch maps. MIX is exclusive: a batch is mixed once."""

    ERASE = 1
    MIX = 2


class GradPhase(IntEnum):
    """Order of the gradient maps."""

    CENTRE = 1
    CLIP = 2


class Origin(Enum):
    """The step from which a decay counts its progress."""

    RUN_START = "run_start"  # boundaries in absolute epochs, warm-up included
    WARMUP_END = "warmup_end"


Select: TypeAlias = Callable[[nn.Module, str], bool]  # (owning module, parameter name within it) -> touched?
LossFn: TypeAlias = Callable[[Logits, Targets], Tensor]
Predict: TypeAlias = Callable[[Images], Logits]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPart:  # exclusive per part
    part: Part
    build: Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitParams:  # applied in name order after the baseline's initialisation
    select: Select
    init: Callable[[Tensor, Key], object]  # in place; the key is the parameter's own


@dataclass(frozen=True, slots=True, kw_only=True)
class MapBatch:  # ordered by phase, then by trick name
    phase: BatchPhase
    apply: Callable[[Batch, Key], Batch]
    reads: int = 1  # batches read for one that is returned; the step count stays


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTargets:  # affine maps of a distribution: they commute with mixing
    apply: Callable[[Targets], Targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLoss:  # exclusive
    loss: LossFn


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLossTerm:  # summed
    term: Callable[[Logits, Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleParams:  # multiplied: every parameter starts at (1, 1)
    select: Select
    lr: float = 1.0
    weight_decay: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDecay:  # exclusive; maps progress in [0, 1) since the origin to a factor of the peak learning rate
    decay: Callable[[float], float]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWarmup:  # exclusive; factor of the peak learning rate for each of the first ``steps`` steps
    steps: int
    factor: Callable[[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrecision:  # exclusive; the dtype of autocast, and whether the loss is scaled
    dtype: torch.dtype
    loss_scale: float | None = None  # None: no scaling; 0: dynamic; else the fixed factor


@dataclass(frozen=True, slots=True, kw_only=True)
class SetGradient:  # exclusive; fills .grad from a loss that may be evaluated several times
    compute: Callable[[nn.Module, Callable[[], Tensor]], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapGrads:  # ordered by phase, then by trick name
    phase: GradPhase
    apply: Callable[[list[Tensor]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageWeights:  # independent: each adds one evaluated copy of the weights
    decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapPredict:  # applied in name order
    wrap: Callable[[Predict], Predict]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptimizer:  # exclusive
    build: Callable[[list[dict[str, Any]]], optim.Optimizer]


Edit: TypeAlias = (
    SetPart
    | InitParams
    | MapBatch
    | MapTargets
    | SetLoss
    | AddLossTerm
    | ScaleParams
    | SetDecay
    | SetWarmup
    | SetPrecision
    | SetGradient
    | MapGrads
    | AverageWeights
    | WrapPredict
    | SetOptimizer
)


def mark(module: nn.Module, role: Role) -> nn.Module:
    """Declare the role of ``module``, for selectors."""
    module.role = role  # type: ignore[assignment]
    return module


def has_role(module: nn.Module, role: Role) -> bool:
    return getattr(module, "role", None) is role
