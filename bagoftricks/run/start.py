"""Preparation of the first step: the network on its device, the trainer, warm-up and compilation."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from torch import nn

from bagoftricks.data import Loader
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import UserError
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.models.strided import make_safe, strided_pointwise
from bagoftricks.models.weights import start_from
from bagoftricks.recipe.edits import Images, Predict
from bagoftricks.recipe.trick import Length
from bagoftricks.rng import Key
from bagoftricks.run.prepare import Prepared
from bagoftricks.settings import Settings
from bagoftricks.training.compiled import CUDA_GRAPHS, compile_on, compiled, grey_images
from bagoftricks.training.parameters import train_mode
from bagoftricks.training.recorded import CudaRecorder, why_no_graph
from bagoftricks.training.trainer import Trainer, TrainerSetup, autocast


@dataclass
class Seconds:
    """Time spent before the clock of the training starts; None for steps that a run leaves out."""

    warmup: float | None = None
    compile: float | None = None
    teacher: float | None = None  # for its logits of all training images


def make_trainer(
    prepared: Prepared,
    steps_per_epoch: int,
    *,
    sample: Callable[[int], Images] | None = None,
    teacher: Predict | None = None,
    world: World = ALONE,
    whole: bool = False,
) -> Trainer:
    """Build the network on the device and return its trainer. The keyword parameters are those of TrainerSetup."""
    settings, checked = prepared.settings, prepared.checked
    recipe, spec = checked.recipe, settings.model
    model = build_model(
        spec,
        recipe.parts,
        num_classes=prepared.num_classes,
        image_size=settings.pixels,
        channels=settings.data.channels,
        task=settings.task,
    )
    model = to_device(model, checked.device, channels_last=settings.runtime.channels_last)
    if checked.device.type == "cpu":
        make_safe(model, settings.pixels)
    setup = TrainerSetup(
        key=Key(settings.seed),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        sample=sample,
        teacher=teacher,
        start=start_from(spec.weights, new_head=spec.new_head, order=prepared.start_order) if spec.weights else None,
        world=world,
        whole=whole,
        sync_norm=settings.runtime.sync_norm,
    )
    return Trainer(recipe, model, checked.task, Length(steps_per_epoch, settings.epochs * steps_per_epoch), setup)


def memory_format_warnings(settings: Settings, model: nn.Module) -> list[str]:
    """Return a warning if the network trains channels first, though the settings say channels_last."""
    if next(model.parameters()).device.type != "cpu" or not settings.runtime.channels_last:
        return []
    places = strided_pointwise(model, settings.pixels)
    return [
        f"{', '.join(places[:3])}{', ...' if len(places) > 3 else ''}: a 1x1 convolution with a stride, which PyTorch "
        "computes out of bounds on a CPU in channels_last: training with runtime.channels_last=false"
    ][: len(places)]


def warm_up(make: Callable[[], Trainer], train: Loader, steps: int) -> float:
    """Take ``steps`` steps, spread over the run, with a trainer that is thrown away; return the seconds.

    Work that a process does once (compilation, the choice of kernels, the first allocations) is then done before the
    clock of the run starts. Draws are keyed, so the result of the run is the same bit for bit.
    """
    if not steps:
        return 0.0
    start, trainer = time.perf_counter(), make()
    train_mode(trainer.model)
    for step, batch in enumerate(islice(train.epoch(0), steps)):
        trainer.steps_done = step * trainer.length.total_steps // steps  # to meet every image size and phase of the run
        trainer.step(batch)
    synchronise(trainer.device)
    return time.perf_counter() - start


def compile_step(settings: Settings, trainer: Trainer) -> float:
    """Compile the trainer's forward and backward pass, before the clock of the training starts; return the seconds."""
    recipe, runtime = trainer.recipe, settings.runtime
    if trainer.world.size > 1:
        raise UserError(
            "runtime.compile=true: works on one device only; type runtime.compile=false or runtime.devices=1"
        )
    if settings.task.targets == "boxes":
        raise UserError(
            "runtime.compile=true: a detector's loss finds its proposals itself, and is not compiled; leave it out"
        )
    views = recipe.map_images[1].views if recipe.map_images else 1
    count = views * min(recipe.micro_batch or settings.batch_size, settings.batch_size)
    images = grey_images(
        count, settings.pixels, trainer.device, channels_last=runtime.channels_last, channels=settings.data.channels
    )
    trainer.forward = compiled(trainer.model, runtime.compile_mode)
    with autocast(recipe.precision, trainer.device):
        return compile_on(trainer.forward, trainer.model, images)


def record_steps(settings: Settings, trainer: Trainer, note: Callable[[str], object]) -> None:
    """Let the trainer record its updates as CUDA graphs; say why not where that is known."""
    runtime = settings.runtime
    records = runtime.compile and runtime.compile_mode in CUDA_GRAPHS
    if why := why_no_graph(trainer.recipe, trainer.device, ranks=trainer.world.size, compile_records=records):
        note(f"runtime.cuda_graph=true: trains without a graph: {why}")
    else:
        trainer.record_updates(CudaRecorder(trainer.device), note)
