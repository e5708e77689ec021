"""A training step on the meta device: a value that the host reads is an error there, copies from the host are seen.

The meta device stands in for a GPU. Torch's fused optimisers and autocast do not know it: plain SGD at full precision
takes their place.
"""

import traceback
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation
from bagoftricks.data.sources import MemorySplit
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch, GradPhase, MapGrads
from bagoftricks.settings import DataSettings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create
from tests.helpers import BATCH, CLASSES, KEY, PIXELS, Fake, create_all, make_model, make_task, views

META = torch.device("meta")
SENT = {"mixup": 1, "cutmix": 1}  # copies of a step, which rng.send makes from pinned memory: the partners


class Crossings(TorchDispatchMode):
    """Operations that read from the host and write on the device, by the line that asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, made))
        if len({leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)}) > 1:
            ours = [frame for frame in traceback.extract_stack() if "/bagoftricks/" in frame.filename]
            self.lines.append(f"{ours[-1].filename.rpartition('/')[2]}: {ours[-1].line}" if ours else str(func))
        return made


def optimiser(groups):
    return torch.optim.SGD(groups, momentum=0.9, foreach=True)


def meta_trainer(names):
    task = make_task()
    made = compose(names if isinstance(names, dict) else create_all(names), task)
    fused = getattr(made.optimizer, "keywords", {}).get("fused")
    recipe = replace(made, precision=None, optimizer=optimiser if fused else made.optimizer)
    with META:
        model, (_, pixels) = make_model(recipe)
        setup = TrainerSetup(
            key=KEY,
            lr=0.1,
            weight_decay=1e-3,
            sample=lambda count: torch.randn(64, 3, pixels, pixels),
            teacher=lambda images: images.flatten(1)[:, :CLASSES],
        )
        trainer = Trainer(recipe, model, task, task.clock.length, setup)
    return trainer, pixels


def meta_batch(recipe, pixels):
    rows = BATCH * recipe.reads
    images = torch.empty(views(recipe) * rows, 3, pixels, pixels, device=META)
    targets = torch.empty(rows, CLASSES, device=META)
    return Batch(images, targets, targets if recipe.teacher else None)


def crossings(names):
    """The lines that copy from the host in a step, after a first one that makes the optimiser's state."""
    trainer, pixels = meta_trainer(names)
    trainer.model.train()
    trainer.step(meta_batch(trainer.recipe, pixels))
    with Crossings() as seen:
        trainer.step(meta_batch(trainer.recipe, pixels))
    return seen.lines


SENDS = "rng.py: return tensor.to(device, non_blocking=True)"


@pytest.mark.parametrize(
    "name", ["cutout", "mixup", "cutmix", "progressive_size", "distill", "dropblock", "class_weights"]
)
def test_a_step_copies_nothing_from_the_host_but_the_partners_of_mixing(name):
    assert crossings([name]) == [SENDS] * SENT.get(name, 0)


def test_mixing_in_pairs_sends_its_weights_alone():
    assert crossings({"mixup": create("mixup", partner="second_batch")}) == [SENDS]


def test_copies_and_readings_of_a_trick_are_found():
    def copies(grads):
        grads[0].add_(torch.ones(()).to(META))

    with pytest.raises(RuntimeError, match="meta"):
        crossings({"mine": Fake([MapGrads(phase=GradPhase.CLIP, apply=lambda grads: float(grads[0].sum()))])})
    (found,) = crossings({"mine": Fake([MapGrads(phase=GradPhase.CLIP, apply=copies)])})
    assert "map_grads(grads)" in found


def test_nothing_is_sent_between_the_steps_of_an_epoch():
    count = 4 * BATCH
    split = MemorySplit(torch.zeros(count, 3, PIXELS, PIXELS, dtype=torch.uint8), np.arange(count) % CLASSES)
    augment = Augment(
        PIXELS, KEY, crop="pad", pad=2, flip=True, reflect=True, jitter="hsv", jitter_strength=0.4, pca=0.1
    )
    finish = Finish(DataSettings(), CLASSES, META, channels_last=True)
    loader = MemoryLoader(split, Preparation(StepPlan(count, BATCH, KEY, reads=2), augment, finish), skipped=[])
    assert loader.place == META
    batches = loader.epoch(0)
    with Crossings() as first:
        next(batches)
    with Crossings() as seen:
        for _ in range(3):
            assert next(batches).images.device == META
    assert (first.lines, seen.lines) == ([SENDS] * 2, [])  # one for each of the two passes that a step reads
