"""What a run needs before its first step: a network on its device, a trainer, warm-up and compilation."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from bagoftricks.data import Loader
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import UserError
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import start_from
from bagoftricks.recipe.edits import Images, Predict
from bagoftricks.recipe.trick import Length
from bagoftricks.rng import Key
from bagoftricks.run.prepare import Prepared
from bagoftricks.settings import Settings
from bagoftricks.training.compiled import compile_on, compiled, grey_images
from bagoftricks.training.trainer import Trainer, TrainerSetup, autocast


@dataclass
class Seconds:
    """Time spent before the clock of the training; None for what a run does without."""

    warmup: float | None = None
    compile: float | None = None
    teacher: float | None = None  # to compute its logits of all training images

    def known(self) -> dict[str, float]:
        """Return the known ones under their names in a record."""
        return {f"{name}_seconds": value for name, value in vars(self).items() if value is not None}


def make_trainer(
    prepared: Prepared,
    steps_per_epoch: int,
    *,
    sample: Callable[[int], Images] | None = None,
    teacher: Predict | None = None,
    world: World = ALONE,
    whole: bool = False,
) -> Trainer:
    """Build the network on the device, and the trainer of the composed recipe. Parameters are those of TrainerSetup."""
    settings, checked = prepared.settings, prepared.checked
    recipe, spec = checked.recipe, settings.model
    model = build_model(spec, recipe.parts, num_classes=prepared.num_classes, image_size=settings.pixels)
    model = to_device(model, checked.device, channels_last=settings.runtime.channels_last)
    setup = TrainerSetup(
        key=Key(settings.seed),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        sample=sample,
        teacher=teacher,
        start=start_from(spec.weights, new_head=spec.new_head) if spec.weights else None,
        world=world,
        whole=whole,
        sync_norm=settings.runtime.sync_norm,
    )
    return Trainer(recipe, model, checked.task, Length(steps_per_epoch, settings.epochs * steps_per_epoch), setup)


def warm_up(make: Callable[[], Trainer], train: Loader, steps: int) -> float:
    """Take ``steps`` steps with a trainer that is thrown away, from all over the run; the seconds they took.

    What is done once in a process (compilation, the choice of kernels, the first memory) is then done before the clock
    of the run. Draws are keyed, so the run itself is the same bit for bit.
    """
    if not steps:
        return 0.0
    start, trainer = time.perf_counter(), make()
    trainer.model.train()
    for step, batch in enumerate(islice(train.epoch(0), steps)):
        trainer.steps_done = step * trainer.length.total_steps // steps  # every size and phase of the run comes by
        trainer.step(batch)
    synchronise(trainer.device)
    return time.perf_counter() - start


def compile_step(settings: Settings, trainer: Trainer) -> float:
    """Let the trainer's forward and backward pass be compiled, before the clock of the training runs; the seconds."""
    recipe, runtime = trainer.recipe, settings.runtime
    if trainer.world.size > 1:
        raise UserError("runtime.compile=true: is for runs on one device; type runtime.compile=false or devices=1")
    views = recipe.map_images[1].views if recipe.map_images else 1
    count = views * min(recipe.micro_batch or settings.batch_size, settings.batch_size)
    images = grey_images(count, settings.pixels, trainer.device, channels_last=runtime.channels_last)
    trainer.forward = compiled(trainer.model, runtime.compile_mode)
    with autocast(recipe.precision, trainer.device):
        return compile_on(trainer.forward, trainer.model, images)
