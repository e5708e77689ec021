"""Host work of a training step of ``preset=fast_gpu``: what a GPU would wait for if it computed in no time.

    OMP_NUM_THREADS=1 python benchmarks/host_step.py [--steps 200]

Operations on a CPU take time of their own, so the arithmetic is made tiny and the number of operations kept: 16 images
of 4 x 4 pixels for the data, 2 of 16 x 16 pixels and narrow blocks for the network; the order and the draws are those
of batches of 2,000. In the last line the update is one graph (runtime.cuda_graph=true) whose launch, which a CPU does
not have, costs nothing. Printed: median milliseconds of processor time and operations that launch something, a step.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
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


def measured(name: str, act: Callable[[], object], steps: int) -> str:
    for _ in range(10):
        act()
    with Count() as count:
        for _ in range(EPOCH):
            act()
    spent = []
    for _ in range(steps // EPOCH):  # whole epochs, so that what is made once an epoch is shared out
        start = time.process_time()
        for _ in range(EPOCH):
            act()
        spent.append((time.process_time() - start) / EPOCH)
    return f"{name:36} {1000 * median(spent):7.3f} ms {count.operations / EPOCH:7.1f} operations"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    settings = compose_settings(["preset=fast_gpu", "model.widths=[24,8,8,8]", "data.root=unused"])
    numbers = numbers_of(loader(settings, settings.batch_size))
    print(measured("order and draws of 2,000 images", lambda: next(numbers), steps))
    batches = endless(loader(settings, 16))
    print(measured("a batch of 16 images from memory", lambda: next(batches), steps))
    made = trainer(settings)
    images = torch.randn(2, 3, PIXELS, PIXELS).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.eye(CLASSES)[:2])
    print(measured("a step, operation by operation", lambda: made.step(batch), steps))
    made.record_updates(NoGraph(), print)
    print(measured("a step with its update in a graph", lambda: made.step(batch), steps))


if __name__ == "__main__":
    main()
