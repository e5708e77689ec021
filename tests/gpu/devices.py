"""Trainers, batches and values on a device."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Trick
from bagoftricks.training.trainer import Trainer, TrainerSetup
from tests.helpers import BATCH, CLASSES, KEY, Network, make_batch, make_model, make_task, teacher, views, with_teacher

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
)
CPU = torch.device("cpu")


def trainer_on(
    device: torch.device, tricks: Mapping[str, Trick], network: Network | None = None, *, channels_last: bool = False
) -> Trainer:
    """A trainer of ``network``, else of the first tiny one that the tricks all have an effect on."""
    task = make_task()
    recipe = compose(tricks, task)
    spec, pixels = network or make_model(recipe)[1]
    with torch.device(device if device.type == "meta" else CPU):
        model = build_model(spec, recipe.parts, num_classes=CLASSES, image_size=pixels)
    if device.type != "meta":
        model = to_device(model, device, channels_last=channels_last)
    setup = TrainerSetup(
        key=KEY, lr=0.1, weight_decay=1e-3, teacher=teacher_on(device, pixels),
        sample=lambda count: make_batch(min(count, 64), step=1000, pixels=pixels).images.to(device),
    )  # fmt: skip
    trainer = Trainer(recipe, model, task, task.clock.length, setup)
    trainer.network, trainer.pixels = (spec, pixels), pixels  # type: ignore[attr-defined]
    return trainer


def teacher_on(device: torch.device, pixels: int):  # type: ignore[no-untyped-def]
    """The teacher of the helpers, with its weights on the device from the beginning."""
    weights = torch.eye(3 * pixels * pixels)
    linear = teacher(weights).to(device)
    return lambda images: images.flatten(1) @ linear


def batches_on(device: torch.device, trainer: Trainer, count: int, *, channels_last: bool = False) -> list[Batch]:
    """The next batches of the stream, on the device."""
    recipe, pixels, first = trainer.recipe, trainer.pixels, trainer.steps_done  # type: ignore[attr-defined]
    made = []
    for step in range(first, first + count):
        batch = make_batch(BATCH * recipe.reads, step, pixels=pixels, views=views(recipe))
        batch = with_teacher(batch) if recipe.teacher else batch
        images = batch.images.to(device)
        images = images.contiguous(memory_format=torch.channels_last) if channels_last else images
        made.append(
            Batch(images, batch.targets.to(device), None if batch.teacher is None else batch.teacher.to(device))
        )
    return made


def advance_on(device: torch.device, trainer: Trainer, count: int) -> Tensor:
    """Train on the next batches of the stream; the losses."""
    return torch.stack(list(trainer.epoch(batches_on(device, trainer, count)))).cpu()


def values_of(trainer: Trainer) -> dict[str, Tensor]:
    """Every number that a step may change, on the host."""
    return {name: tensor.cpu() for name, tensor in trainer.state().tensors.items()}
