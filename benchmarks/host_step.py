"""Host work of a training step of ``preset=fast_gpu``: what a GPU would wait for if it computed in no time.

    OMP_NUM_THREADS=1 python benchmarks/host_step.py [--steps 200]

Operations on a CPU take time of their own, so the arithmetic is made tiny and the number of operations kept: 16 images
of 4 x 4 pixels for the data, 2 of 16 x 16 pixels and narrow blocks for the network; the order and the draws are those
of batches of 2,000. In the last line the update is one graph (runtime.cuda_graph=true) whose launch, which a CPU does
not have, costs nothing. Printed: median milliseconds of processor time and operations that launch something, a step.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from shared import Report, arguments, seconds, spread
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation
from bagoftricks.data.sources import MemorySplit
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.settings import Settings
from bagoftricks.training.parameters import train_mode
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

CPU = torch.device("cpu")
CLASSES, EPOCH, PIXELS = 10, 25, 16
FREE = {"aten::detach", "aten::view", "aten::t", "aten::transpose", "aten::expand", "aten::slice", "aten::select",
        "aten::permute", "aten::unsqueeze", "aten::squeeze", "aten::as_strided", "aten::_unsafe_view", "aten::alias",
        "aten::split", "aten::split_with_sizes", "aten::unbind", "aten::empty_like", "aten::empty", "aten::unfold",
        "aten::empty_strided", "aten::lift_fresh"}  # fmt: skip


class Count(TorchDispatchMode):
    """Number of operations, without views and bare allocations, which launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += func._schema.name not in FREE
        return func(*args, **(kwargs or {}))


def loader(settings: Settings, batch_size: int) -> MemoryLoader:
    count = EPOCH * batch_size
    split = MemorySplit(torch.zeros(count, 3, 4, 4, dtype=torch.uint8), np.arange(count) % CLASSES)
    augment = Augment.from_settings(settings.data, 32, Key(0).fold("data"))
    plan = StepPlan(count, batch_size, Key(0).fold("data"))
    return MemoryLoader(
        split, Preparation(plan, augment, Finish(settings.data, CLASSES, CPU, channels_last=True)), skipped=[]
    )


def trainer(settings: Settings) -> Trainer:
    task = Task(CLASSES, settings.batch_size, 32)
    recipe = compose({name: create(name, **values) for name, values in settings.tricks.items()}, task)
    model = build_model(settings.model, recipe.parts, num_classes=CLASSES, image_size=PIXELS)
    images = torch.randn(64, 3, PIXELS, PIXELS)
    setup = TrainerSetup(key=Key(0), lr=settings.lr, weight_decay=settings.weight_decay, sample=lambda count: images)
    made = Trainer(recipe, to_device(model, CPU, channels_last=True), task, Length(EPOCH, 8 * EPOCH), setup)
    train_mode(made.model)
    return made


class NoGraph:
    """Recorder whose graph does nothing when it is launched."""

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        loss = work()
        return lambda: None, loss


def measured(name: str, act: Callable[[], object], steps: int) -> list[object]:
    def epoch() -> None:
        for _ in range(EPOCH):
            act()

    epoch()
    with Count() as count:
        epoch()
    spent = [seconds(epoch, time.process_time) for _ in range(steps // EPOCH)]  # shares out what is made once an epoch
    return [name, spread(spent).text(3, scale=1000 / EPOCH), f"{count.operations / EPOCH:.1f}", len(spent)]


def endless(made: MemoryLoader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from made.epoch(epoch)
        epoch += 1


def numbers_of(made: MemoryLoader) -> Iterator[object]:
    epoch = 0
    while True:
        yield from made.numbers.epoch(epoch)
        epoch += 1


def rows(settings: Settings, steps: int) -> Iterator[list[object]]:
    numbers = numbers_of(loader(settings, settings.batch_size))
    yield measured("order and draws of 2,000 images", lambda: next(numbers), steps)
    batches = endless(loader(settings, 16))
    yield measured("a batch of 16 images from memory", lambda: next(batches), steps)
    made = trainer(settings)
    images = torch.randn(2, 3, PIXELS, PIXELS).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.eye(CLASSES)[:2])
    yield measured("a step, operation by operation", lambda: made.step(batch), steps)
    made.record_updates(NoGraph(), print)
    yield measured("a step with its update in a graph", lambda: made.step(batch), steps)


def main() -> None:
    steps = arguments(__doc__, steps=500).parse_args().steps
    torch.set_num_threads(1)
    settings = compose_settings(["preset=fast_gpu", "model.widths=[24,8,8,8]", "data.root=unused"])
    report = Report(f"{steps} steps in epochs of {EPOCH}")
    report.table(["a step", "host, ms [quartiles]", "operations", "n"], rows(settings, steps))


if __name__ == "__main__":
    main()
