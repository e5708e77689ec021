"""Edits: the typed changes that a trick can make to a recipe.

A trick never sees the trainer, the model or another trick. It returns edits; ``compose`` merges them by the rule
printed next to each class. A new kind of edit is a change of the architecture: write an ADR for it.

Shapes: B batch, C channels (3, or 1 of grey images), K classes, H height, W width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn, optim

from bagoftricks.rng import Key

Images: TypeAlias = Float[Tensor, "B C H W"]
Logits: TypeAlias = Float[Tensor, "B K"]
Float64: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.int64]
NO_CLASS = 255  # a pixel that is neither trained on nor scored
Targets: TypeAlias = Float[Tensor, "B K"]  # a distribution, but for tasks that state others (docs/adr/0002, 0019)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with their targets; every map of a batch keeps them aligned.

    With several views of each image, ``images`` holds V B of them, the B first views (the clean ones) first, then the
    B second views; a batch of several views is never mixed or cut into rows of images.
    """

    images: Float[Tensor, "VB C H W"]
    targets: Tensor  # (B, K) distributions; labels, masks or boxes of tasks that state others
    teacher: Targets | None = None  # a teacher's probabilities for each image

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def views(self) -> int:
        """Number of views of each image."""
        return len(self.images) // len(self.targets)

    def __getitem__(self, rows: Tensor | slice) -> "Batch":
        views = [view[rows] for view in self.images.chunk(self.views)]
        images = views[0] if len(views) == 1 else torch.cat(views)
        return Batch(images, self.targets[rows], None if self.teacher is None else self.teacher[rows])

    def blend(self, other: "Batch", weight: float | Float[Tensor, " B"]) -> "Batch":
        """Return ``weight * self + (1 - weight) * other``: images, targets and teacher; one weight, or one per row."""

        def lerp(a: Tensor, b: Tensor) -> Tensor:
            w = weight.view(-1, *[1] * (a.ndim - 1)) if isinstance(weight, Tensor) else weight
            return torch.lerp(b, a, w)

        teacher = None
        if self.teacher is not None and other.teacher is not None:
            teacher = lerp(self.teacher, other.teacher)
        return Batch(lerp(self.images, other.images), lerp(self.targets, other.targets), teacher)


class Part(Enum):
    """A replaceable constructor of a piece of the network; each comment gives its arguments and its result.

    ``site`` is a ``layers.Site``: the place in the network, and the constructors of the other parts there.
    """

    STEM = "stem"  # (width, stride, site) -> Module: (B C H W) -> (B width H/stride W/stride)
    MAX_POOL = "stem max-pool"  # (channels, site) -> Module that halves the map
    LAYOUT = "layout of the stages"  # (depths, width, block, site) -> Module: (B width H W) -> (B features h w)
    SHORTCUT = "shortcut"  # (c_in, c_out, stride, site) -> Module: a projection shortcut
    STRIDE = "bottleneck stride"  # (stride) -> (stride of a bottleneck's first 1x1, stride of its 3x3)
    CONV3 = "bottleneck 3x3"  # (c_in, c_out, stride, groups, site) -> Module, with its norm and activation
    DOWN = "strided convolution"  # (channels, stride, site) -> Module after a convolution that leaves the stride to it
    GATE = "channel gate"  # (channels, site) -> Module on a residual branch, before the addition; gates chain
    NORM = "norm"  # (channels) -> Module
    ACT = "activation"  # () -> Module
    DROP = "drop of feature maps"  # (channels, site) -> Module after the norms of residual blocks
    BRANCH = "drop of residual branches"  # (site) -> Module on a residual branch, before the addition
    POOLED_CONV = "pooled convolution"  # (c_in, c_out, site) -> Module: a 3x3, norm, activation and 2x2 max-pool
    HEAD_POOL = "pooling head"  # () -> Module: (B C H W) -> (B C)
    HEAD_DROP = "dropout before the head"  # (site) -> Module
    LOGIT_SCALE = "logit scale"  # (the network's own scale, or 1) -> scale of the logits


CHAINED = {Part.GATE}  # parts that several tricks may add to; applied in the order of the tricks' names


class Role(Enum):
    """Function of a module in its block: tricks select parameters by role or by module type, never by name."""

    CLOSING_NORM = "closing_norm"  # the last norm of a residual branch, before the addition
    SMALL_START = "small_start"  # weights of a detector's layers that start near zero
    HEAD = "head"  # what follows the features, in the place of a classifier's last linear layer


class BatchPhase(IntEnum):
    """Order of the batch maps. MIX is exclusive: a batch is mixed once."""

    ERASE = 1
    MIX = 2
    RESIZE = 3  # last, so that images are erased and mixed at their full size


class GradPhase(IntEnum):
    """Order of the gradient maps."""

    CENTRE = 1
    CLIP = 2


class Origin(Enum):
    """The step from which a decay counts its progress."""

    RUN_START = "run_start"  # boundaries in absolute epochs, warm-up included
    WARMUP_END = "warmup_end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """Place of a tensor between the image and the logits. The stem is stage 0 and block 0, the head comes last."""

    stage: int  # from 1 after the stem; stages + 1: the head
    block: int  # counted through all stages, from 1 after the stem; blocks + 1: the head
    stages: int  # of the network
    blocks: int

    @property
    def in_head(self) -> bool:
        return self.stage > self.stages


Select: TypeAlias = Callable[[nn.Module, str], bool]  # (owning module, parameter name within it) -> True to select it
LossFn: TypeAlias = Callable[[Any, Tensor], Tensor]  # (logits, targets), or outputs of another task
Predict: TypeAlias = Callable[[Images], Tensor]  # to logits, or to what another task scores
ParamGroup: TypeAlias = dict[str, Any]  # an optimiser's: parameters, lr, peak_lr, weight_decay


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPart:  # exclusive per part, but for the CHAINED ones
    part: Part
    build: Callable[..., Any]
    why: str = ""  # for the message of a conflict: the replacement of the other trick
    optional: bool = False  # True: the trick has an effect in a network that does not build the part, too


@dataclass(frozen=True, slots=True, kw_only=True)
class InitParams:  # applied in name order after the baseline's initialisation
    select: Select
    init: Callable[[Tensor, Key], object]  # in place; the key is the parameter's own


@dataclass(frozen=True, slots=True, kw_only=True)
class InitFromImages:  # applied in name order after InitParams
    select: Select
    images: int  # number of training images to read, normalised and not augmented
    init: Callable[[Tensor, Images], object]  # in place


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeParams:  # independent; a frozen parameter keeps its starting value
    select: Select
    any_start: bool = False  # whatever that value is; False: no other trick may set it


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeStatistics:  # independent; norms whose running statistics are selected train as they are evaluated
    select: Select  # asked with the name "running_mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNormMomentum:  # exclusive; of all norms with running statistics
    share: float | Callable[[], float]  # of a step's statistics in the running ones; called once the length is known


@dataclass(frozen=True, slots=True, kw_only=True)
class MapImages:  # exclusive; bytes to bytes, after crop, flip and jitter, keyed by sample; on the host
    apply: Callable[[UInt8[Tensor, "B 3 H W"], Float[Tensor, "B n"]], UInt8[Tensor, "VB 3 H W"]]
    draws: int  # uniform numbers in [0, 1) for each image
    views: int = 1  # images made from one; the first views of all images come first, then the second views


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlip:  # exclusive; the choice of flipped training images, for data with data.flip=true
    draw: Callable[[Float64, int], Float64]  # (draws of the first pass, passes before) -> draws; below 1/2: flipped


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSampling:  # exclusive; how often each training image comes in an epoch, whose length stays the same
    copies: Callable[[Rows], Float64]  # labels of all training images -> expected copies of each, with a mean of 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatImages:  # exclusive; each batch read holds every image this many times, with draws of its own each time
    times: int  # a divisor of the batch size


@dataclass(frozen=True, slots=True, kw_only=True)
class MapBatch:  # ordered by phase, then by trick name
    phase: BatchPhase
    apply: Callable[[Batch, Key], Batch]
    reads: int = 1  # batches read for each one returned; the number of steps stays the same


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTargets:  # affine maps of a distribution: they commute with mixing
    apply: Callable[[Targets], Targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLoss:  # exclusive
    loss: LossFn


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleLoss:  # multiplied: the weight of the loss on the targets, relative to the added terms
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLossTerm:  # summed; the logits are those of all views
    term: Callable[[Float[Tensor, "VB K"], Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTeacher:  # exclusive; fills Batch.teacher
    source: str  # as typed; bagoftricks.run.teacher finds the network
    temperature: float  # of the softmax of its logits
    online: bool  # True: it reads each training batch as the network does; False: each image once, before the run


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBatch:  # exclusive; the gradient is summed over micro-batches of at most this many images
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleParams:  # multiplied: every parameter starts at (1, 1)
    select: Select
    lr: float | Callable[[nn.Module, str], float] = 1.0  # a factor, or one for each selected parameter
    weight_decay: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDecay:  # exclusive; (step since the origin, steps from the origin to the end) -> factor of the peak rate
    decay: Callable[[int, int], float]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWarmup:  # exclusive; factor of the peak learning rate for each of the first steps
    steps: Callable[[], int]  # number of warm-up steps; called once the length of the run is known
    factor: Callable[[int, int], float]  # (step, steps) -> factor


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrecision:  # exclusive; the dtype of autocast, and the scaling of the loss
    dtype: torch.dtype
    loss_scale: float | None = None  # None: no scaling; 0: dynamic; else the fixed factor


@dataclass(frozen=True, slots=True, kw_only=True)
class SetGradient:  # exclusive; fills .grad by calling ``backward``, which adds the gradient of the (scaled) loss to it
    compute: Callable[[nn.Module, Callable[[], None]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapGrads:  # ordered by phase, then by trick name
    phase: GradPhase
    apply: Callable[..., None]  # (gradients), which it changes in place; with ``select``: (gradients, parameters)
    select: Select | None = None  # parameters whose gradients it is given; None: the gradients of all


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageWeights:  # independent: each adds one evaluated weight set
    weight: Callable[[int], float]  # share of the new weights in the average at its update n = 1, 2, ...
    # (steps before the first update, steps between updates); called once the length of the run is known. The average
    # starts as the weights at its first update.
    times: Callable[[], tuple[int, int]] = lambda: (0, 1)
    window: int | None = None  # the average is the mean of the weights at this many latest updates; None: at all
    # (trained weights, the optimiser's state of them) -> weights that are averaged in their place
    of: Callable[[Tensor, Mapping[str, Any]], Tensor] | None = None
    refresh_norms: bool = False  # measure the batch norms' statistics instead of averaging them
    pull: bool = False  # at each update, the trained weights are set to the averaged ones


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapPredict:  # applied in name order
    wrap: Callable[[Predict], Predict]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTestSize:  # exclusive; side in pixels of the validation images
    size: int
    short_side: int | None = None  # resized to this before the centre crop; None: size / 0.875


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptimizer:  # exclusive
    build: Callable[[list[ParamGroup]], optim.Optimizer]


Edit: TypeAlias = (
    SetPart
    | InitParams
    | InitFromImages
    | FreezeParams
    | FreezeStatistics
    | SetNormMomentum
    | MapImages
    | SetFlip
    | SetSampling
    | RepeatImages
    | MapBatch
    | MapTargets
    | SetLoss
    | ScaleLoss
    | AddLossTerm
    | SetTeacher
    | SplitBatch
    | ScaleParams
    | SetDecay
    | SetWarmup
    | SetPrecision
    | SetGradient
    | MapGrads
    | AverageWeights
    | WrapPredict
    | SetTestSize
    | SetOptimizer
)


def mark(module: nn.Module, role: Role) -> nn.Module:
    """Set the role of ``module``, for selectors; return the module."""
    module.role = role  # type: ignore[assignment]
    return module


def has_role(module: nn.Module, role: Role) -> bool:
    """Return True if ``module`` was marked with ``role``."""
    return getattr(module, "role", None) is role


def mark_depths(module: nn.Module, depths: dict[str, Depth]) -> None:
    """Set the depths of the tensors that ``module`` owns, by their names in it, for selectors."""
    module.depths = depths  # type: ignore[assignment]


def depth_of(module: nn.Module, name: str) -> Depth | None:
    """Return the depth of a tensor that ``module`` owns, or of another one of it; None without any."""
    depths: dict[str, Depth] = getattr(module, "depths", {})
    return depths.get(name) or next(iter(depths.values()), None)
