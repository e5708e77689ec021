"""Merge the edits of many tricks into one recipe. The result does not depend on the order of the tricks."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch.nn.functional as F
from torch import nn, optim

from bagoftricks.errors import ConflictError
from bagoftricks.recipe import edits as e
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Clock, Task, Trick

K = TypeVar("K")
MOMENTUM = 0.9


def compose(tricks: Mapping[str, Trick], task: Task) -> Recipe:
    """The recipe that all of ``tricks`` (by name) make together, over the baseline of Bag of Tricks, section 2.

    Raises ConflictError, naming both tricks, where two of them claim one exclusive slot.
    """
    claims = [(name, edit) for name in sorted(tricks) for edit in tricks[name].edits(task)]

    def every(kind: type[K]) -> list[tuple[str, K]]:
        return [(name, edit) for name, edit in claims if isinstance(edit, kind)]

    def at_most_one(kind: type[K], slot: str) -> K | None:
        return _exclusive([(name, slot, edit) for name, edit in every(kind)]).get(slot, (None, None))[1]

    parts = every(e.SetPart)
    _exclusive([(name, f"part '{edit.part.value}'", edit) for name, edit in parts if edit.part not in e.CHAINED])
    batch = sorted(every(e.MapBatch), key=lambda claim: (claim[1].phase, claim[0]))
    _exclusive([(name, "the mixing of a batch", edit) for name, edit in batch if edit.phase is e.BatchPhase.MIX])
    images = _exclusive([(name, "the augmentation policy", edit) for name, edit in every(e.MapImages)])
    policy = images.get("the augmentation policy")
    mixers = [
        (name, "what becomes of an image's views", edit) for name, edit in batch if edit.phase is e.BatchPhase.MIX
    ]
    if policy and policy[1].views > 1:
        _exclusive([(policy[0], "what becomes of an image's views", policy[1]), *mixers])
    loss, precision = at_most_one(e.SetLoss, "the loss"), at_most_one(e.SetPrecision, "the precision")
    gradient, optimizer = at_most_one(e.SetGradient, "the gradient"), at_most_one(e.SetOptimizer, "the optimiser")
    split = at_most_one(e.SplitBatch, "the micro-batches")
    decay, warmup = at_most_one(e.SetDecay, "the decay of the learning rate"), at_most_one(e.SetWarmup, "the warm-up")

    return Recipe(
        parts={
            part: tuple((None if edit.optional else name, edit.build) for name, edit in parts if edit.part is part)
            for part in e.Part
            if any(edit.part is part for _, edit in parts)
        },
        inits=tuple(every(e.InitParams)),
        image_inits=tuple(every(e.InitFromImages)),
        frozen=tuple(every(e.FreezeParams)),
        map_images=policy,
        flip=_exclusive([(name, "which images are flipped", edit) for name, edit in every(e.SetFlip)]).get(
            "which images are flipped"
        ),
        map_batch=tuple((name, edit.apply) for name, edit in batch),
        reads=math.prod(edit.reads for _, edit in batch),
        map_targets=tuple(edit.apply for _, edit in every(e.MapTargets)),
        loss=loss.loss if loss else F.cross_entropy,
        loss_weight=math.prod(edit.factor for _, edit in every(e.ScaleLoss)),
        teacher=at_most_one(e.SetTeacher, "the teacher"),
        micro_batch=split.images if split else None,
        loss_terms=tuple(edit.term for _, edit in every(e.AddLossTerm)),
        param_scales=tuple(every(e.ScaleParams)),
        schedule=partial(learning_rate_factor, decay=decay or BASELINE_DECAY, warmup=warmup, clock=task.clock),
        precision=precision,
        gradient=gradient.compute if gradient else plain_gradient,
        map_grads=tuple(edit.apply for _, edit in sorted(every(e.MapGrads), key=lambda c: (c[1].phase, c[0]))),
        averages=tuple(every(e.AverageWeights)),
        test_size=at_most_one(e.SetTestSize, "the size of validation images"),
        wrap_predict=tuple(edit.wrap for _, edit in every(e.WrapPredict)),
        optimizer=optimizer.build if optimizer else partial(optim.SGD, momentum=MOMENTUM, nesterov=True, fused=True),
    )


def tenth_each_quarter(step: int, steps: int) -> float:
    """The baseline's decay: a tenth after each quarter of the run (epochs 30, 60 and 90 of 120)."""
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
    """One evaluation of the loss and its gradient."""
    backward()


def _exclusive(claims: list[tuple[str, str, K]]) -> dict[str, tuple[str, K]]:
    """Claims as (trick, slot, edit) -> the owner and the edit of each slot; two owners are a conflict."""
    owner: dict[str, tuple[str, K]] = {}
    for name, slot, edit in claims:
        if slot in owner:
            other, held = owner[slot]
            first, second = sorted((other, name))
            same = " to the same thing" if held == edit else ""
            why = getattr(held, "why", "") or getattr(edit, "why", "")
            because = f" ({why})" if why else ""
            raise ConflictError(
                f"tricks '{first}' and '{second}' both set {slot}{same}{because}: run them in separate arms, "
                f"or drop one with ~tricks.{first} or ~tricks.{second}"
            )
        owner[slot] = (name, edit)
    return owner
