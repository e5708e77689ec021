"""Merge the edits of many tricks into one recipe. The result does not depend on the order of the tricks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from bagoftricks.errors import ConflictError
from bagoftricks.recipe import edits as e
from bagoftricks.recipe.optimizers import LightSgd
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Clock, Task, Trick

K = TypeVar("K")
BASELINE_OPTIMIZER = partial(LightSgd, momentum=0.9, nesterov=True, fused=True)


def compose(tricks: Mapping[str, Trick], task: Task) -> Recipe:
    """Return the recipe that ``tricks`` (by name) make together, over the baseline of Bag of Tricks, section 2.

    Raises ConflictError, naming both tricks, if two of them claim one exclusive slot.
    """
    claims = Claims([(name, edit) for name in sorted(tricks) for edit in tricks[name].edits(task)])
    batch, images = claims.batch_maps(), claims.one(e.MapImages, "the augmentation policy")
    claims.check_views(images, batch)
    loss, gradient = claims.edit(e.SetLoss, "the loss"), claims.edit(e.SetGradient, "the gradient")
    optimizer, split = claims.edit(e.SetOptimizer, "the optimiser"), claims.edit(e.SplitBatch, "the micro-batches")
    decay = claims.edit(e.SetDecay, "the decay of the learning rate") or BASELINE_DECAY
    warmup = claims.edit(e.SetWarmup, "the warm-up")
    grads = sorted(claims.every(e.MapGrads), key=lambda claim: (claim[1].phase, claim[0]))
    return Recipe(
        parts=claims.parts(),
        inits=(*(("the task", edit) for edit in task.inits), *claims.every(e.InitParams)),
        image_inits=tuple(claims.every(e.InitFromImages)),
        frozen=tuple(claims.every(e.FreezeParams)),
        frozen_statistics=tuple(claims.every(e.FreezeStatistics)),
        norm_momentum=claims.one(e.SetNormMomentum, "the momentum of norms"),
        map_images=images,
        flip=claims.one(e.SetFlip, "which images are flipped"),
        sampling=claims.one(e.SetSampling, "how often each image comes"),
        repeats=claims.one(e.RepeatImages, "how often each image comes in a batch"),
        map_batch=tuple((name, edit.apply) for name, edit in batch),
        reads=math.prod(edit.reads for _, edit in batch),
        map_targets=tuple(edit.apply for _, edit in claims.every(e.MapTargets)),
        loss=loss.loss if loss else task.loss,
        loss_weight=math.prod(edit.factor for _, edit in claims.every(e.ScaleLoss)),
        loss_terms=tuple(edit.term for _, edit in claims.every(e.AddLossTerm)),
        teacher=claims.edit(e.SetTeacher, "the teacher"),
        micro_batch=split.images if split else None,
        param_scales=tuple(claims.every(e.ScaleParams)),
        schedule=partial(learning_rate_factor, decay=decay, warmup=warmup, clock=task.clock),
        precision=claims.edit(e.SetPrecision, "the precision"),
        gradient=gradient.compute if gradient else plain_gradient,
        map_grads=tuple(grads),
        averages=tuple(claims.every(e.AverageWeights)),
        test_size=claims.edit(e.SetTestSize, "the size of validation images"),
        wrap_predict=tuple(edit.wrap for _, edit in claims.every(e.WrapPredict)),
        optimizer=optimizer.build if optimizer else BASELINE_OPTIMIZER,
    )


@dataclass(frozen=True)
class Claims:
    """Edits with the names of the tricks that made them, in the order of the names."""

    made: Sequence[tuple[str, e.Edit]]

    def every(self, kind: type[K]) -> list[tuple[str, K]]:
        """Return all claims of one kind."""
        return [(name, edit) for name, edit in self.made if isinstance(edit, kind)]

    def one(self, kind: type[K], slot: str) -> tuple[str, K] | None:
        """Return the only claim of an exclusive kind, None without one."""
        return _exclusive([(name, slot, edit) for name, edit in self.every(kind)]).get(slot)

    def edit(self, kind: type[K], slot: str) -> K | None:
        """Return the edit of the only claim of an exclusive kind, None without one."""
        claim = self.one(kind, slot)
        return claim[1] if claim else None

    def parts(self) -> dict[e.Part, tuple[tuple[str | None, Callable[..., Any]], ...]]:
        """Return the constructors of each claimed part; several if they chain."""
        claims = self.every(e.SetPart)
        _exclusive([(name, f"part '{edit.part.value}'", edit) for name, edit in claims if edit.part not in e.CHAINED])
        return {
            part: tuple((None if edit.optional else name, edit.build) for name, edit in claims if edit.part is part)
            for part in e.Part
            if any(edit.part is part for _, edit in claims)
        }

    def batch_maps(self) -> list[tuple[str, e.MapBatch]]:
        """Return the maps of a batch in the order in which they are applied; at most one of them mixes."""
        maps = sorted(self.every(e.MapBatch), key=lambda claim: (claim[1].phase, claim[0]))
        _exclusive([(name, "the mixing of a batch", edit) for name, edit in maps if edit.phase is e.BatchPhase.MIX])
        return maps

    def check_views(self, policy: tuple[str, e.MapImages] | None, batch: Sequence[tuple[str, e.MapBatch]]) -> None:
        """Raise ConflictError for a policy of several views with a map that mixes."""
        if policy and policy[1].views > 1:
            mixers: list[tuple[str, e.Edit]] = [claim for claim in batch if claim[1].phase is e.BatchPhase.MIX]
            _exclusive([(name, "what becomes of an image's views", edit) for name, edit in [policy, *mixers]])


def tenth_each_quarter(step: int, steps: int) -> float:
    """Return the baseline's factor: a tenth after each quarter of the run (epochs 30, 60 and 90 of 120)."""
    return 0.1 ** sum(step / steps >= boundary for boundary in (30 / 120, 60 / 120, 90 / 120))


BASELINE_DECAY = e.SetDecay(decay=tenth_each_quarter, origin=e.Origin.RUN_START)


def learning_rate_factor(step: int, *, decay: e.SetDecay, warmup: e.SetWarmup | None, clock: Clock) -> float:
    """Return the factor of the peak learning rate at ``step``: the warm-up's, then the decay's alone."""
    warmup_steps = warmup.steps() if warmup else 0
    if warmup and step < warmup_steps:
        return warmup.factor(step, warmup_steps)
    start = warmup_steps if decay.origin is e.Origin.WARMUP_END else 0
    return decay.decay(step - start, max(1, clock.length.total_steps - start))


def plain_gradient(model: nn.Module, backward: Callable[[], None]) -> None:
    """Evaluate the loss and its gradient once."""
    backward()


def _exclusive(claims: list[tuple[str, str, K]]) -> dict[str, tuple[str, K]]:
    """Return the owner and the edit of each slot. ``claims`` are (trick, slot, edit); two owners are a conflict."""
    owner: dict[str, tuple[str, K]] = {}
    for name, slot, edit in claims:
        if slot in owner:
            other, held = owner[slot]
            same = " to the same thing" if held == edit else ""
            why = getattr(held, "why", "") or getattr(edit, "why", "")
            because = f" ({why})" if why else ""
            raise ConflictError(other, name, f"{slot}{same}{because}")
        owner[slot] = (name, edit)
    return owner
