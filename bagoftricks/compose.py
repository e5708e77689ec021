"""Merge the edits of many tricks into one recipe. The result does not depend on the order of the tricks."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn, optim

from bagoftricks import edits as e
from bagoftricks.errors import ConflictError
from bagoftricks.recipe import Recipe
from bagoftricks.trick import Task, Trick

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

    parts = _exclusive([(name, f"part '{edit.part.value}'", edit) for name, edit in every(e.SetPart)])
    batch = sorted(every(e.MapBatch), key=lambda claim: (claim[1].phase, claim[0]))
    _exclusive([(name, "the mixing of a batch", edit) for name, edit in batch if edit.phase is e.BatchPhase.MIX])
    loss, precision = at_most_one(e.SetLoss, "the loss"), at_most_one(e.SetPrecision, "the precision")
    gradient, optimizer = at_most_one(e.SetGradient, "the gradient"), at_most_one(e.SetOptimizer, "the optimiser")
    decay, warmup = at_most_one(e.SetDecay, "the decay of the learning rate"), at_most_one(e.SetWarmup, "the warm-up")

    return Recipe(
        parts={edit.part: (name, edit.build) for name, edit in parts.values()},
        inits=tuple(every(e.InitParams)),
        map_batch=tuple((name, edit.apply) for name, edit in batch),
        reads=math.prod(edit.reads for _, edit in batch),
        map_targets=tuple(edit.apply for _, edit in every(e.MapTargets)),
        loss=loss.loss if loss else F.cross_entropy,
        loss_terms=tuple(edit.term for _, edit in every(e.AddLossTerm)),
        param_scales=tuple(every(e.ScaleParams)),
        schedule=partial(
            learning_rate_factor, decay=decay or BASELINE_DECAY, warmup=warmup, total_steps=task.total_steps
        ),
        precision=precision,
        gradient=gradient.compute if gradient else backward,
        map_grads=tuple(edit.apply for _, edit in sorted(every(e.MapGrads), key=lambda c: (c[1].phase, c[0]))),
        averages=tuple((name, edit.decay) for name, edit in every(e.AverageWeights)),
        wrap_predict=tuple(edit.wrap for _, edit in every(e.WrapPredict)),
        optimizer=optimizer.build if optimizer else partial(optim.SGD, momentum=MOMENTUM, nesterov=True, fused=True),
    )


def step_decay(progress: float) -> float:
    """The baseline's decay: a tenth after each quarter of the run (epochs 30, 60 and 90 of 120)."""
    return 0.1 ** sum(progress >= boundary for boundary in (30 / 120, 60 / 120, 90 / 120))


BASELINE_DECAY = e.SetDecay(decay=step_decay, origin=e.Origin.RUN_START)


def learning_rate_factor(step: int, *, decay: e.SetDecay, warmup: e.SetWarmup | None, total_steps: int) -> float:
    """Factor of the peak learning rate at ``step``. The warm-up goes first; it does not multiply the decay."""
    warmup_steps = warmup.steps if warmup else 0
    if warmup and step < warmup_steps:
        return warmup.factor(step)
    start = warmup_steps if decay.origin is e.Origin.WARMUP_END else 0
    return decay.decay((step - start) / max(1, total_steps - start))


def backward(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """The plain gradient of one evaluation of the loss."""
    loss().backward()  # type: ignore[no-untyped-call]


def _exclusive(claims: list[tuple[str, str, K]]) -> dict[str, tuple[str, K]]:
    """Claims as (trick, slot, edit) -> the owner and the edit of each slot; two owners are a conflict."""
    owner: dict[str, tuple[str, K]] = {}
    for name, slot, edit in claims:
        if slot in owner:
            other, held = owner[slot]
            same = " to the same thing" if held == edit else ""
            raise ConflictError(
                f"tricks '{other}' and '{name}' both set {slot}{same}: run them in separate arms, "
                f"or drop one with ~tricks.{other} or ~tricks.{name}"
            )
        owner[slot] = (name, edit)
    return owner
