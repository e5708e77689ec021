"""What a training step is made of: the host's work, copies and kernels, from torch's profiler."""

import time
from collections.abc import Callable, Iterator
from itertools import count

from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import compile_step, make_trainer, record_steps
from bagoftricks.settings import Settings
from bagoftricks.training.parameters import train_mode

WARM = 10
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")


def breakdown(settings: Settings, steps: int) -> Iterator[dict[str, str | float]]:
    """Yield a row for each part of a step: milliseconds of each, and how many there are.

    *wall* and *host, until all is asked for* are measured without the profiler, which slows the host down.
    """
    prepared = prepare(settings)
    train, _ = loaders(prepared)
    trainer = make_trainer(prepared, len(train), sample=train.sample)
    if settings.runtime.compile:
        compile_step(settings, trainer)
    if settings.runtime.cuda_graph:
        record_steps(settings, trainer, print)
    train_mode(trainer.model)
    batches = (batch for epoch in count() for batch in train.epoch(epoch))
    take(trainer.step, batches, min(WARM, steps))
    synchronise(trainer.device)
    start = time.perf_counter()
    take(trainer.step, batches, steps)
    asked = time.perf_counter() - start
    synchronise(trainer.device)
    wall = time.perf_counter() - start
    yield {"of a step": "wall", "ms": 1000 * wall / steps, "pieces": 1}
    yield {"of a step": "host, until all is asked for", "ms": 1000 * asked / steps, "pieces": 1}
    cuda = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as recorded:
        take(trainer.step, batches, steps)
        synchronise(trainer.device)
    events = recorded.events() or []
    there = [e for e in events if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)]
    copies = [event for event in there if event.name.startswith(("Memcpy", "Memset"))]
    kinds = {"copies and fills on the device": copies, "kernels": [event for event in there if event not in copies]}
    kinds["waits for the device"] = [event for event in events if "Synchronize" in event.name]
    kinds["launches by the host"] = [event for event in events if event.name.startswith(LAUNCHES)]
    for name, of_kind in kinds.items():
        spent = sum(event.time_range.elapsed_us() for event in of_kind)
        yield {"of a step": name, "ms": spent / 1000 / steps, "pieces": len(of_kind) / steps}


def take(step: Callable[[Batch], Tensor], batches: Iterator[Batch], steps: int) -> None:
    for _ in range(steps):
        step(next(batches))
