"""Inference speed and memory by the papers' protocol: batch 64, fp32, no data loading."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import nn

from bagoftricks.models.channels import image_channels
from bagoftricks.recipe.edits import Images, Predict
from bagoftricks.rng import Key
from bagoftricks.system import peak_memory_bytes

MIB = 2**20
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK_OF_RSS = "5"  # what resets the peak there: man 5 proc


@dataclass(frozen=True)
class Timing:
    """Median and quartiles of repeated timings, in seconds for one batch."""

    batch: int
    seconds: float
    low: float
    high: float
    repeats: int

    @property
    def images_per_s(self) -> float:
        return self.batch / self.seconds

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        return (self.high - self.low) / self.seconds


def time_inference(
    model: nn.Module,
    image_size: int,
    *,
    batch: int = 64,
    channels_last: bool = True,
    budget_s: float = 3.0,
    wrap_predict: Sequence[Callable[[Predict], Predict]] = (),
) -> Timing:
    """Time a prediction on the model's device: two warm-up passes, then 5 to 50 repeats within ``budget_s``.

    ``wrap_predict`` are a recipe's wrappers of the forward pass, such as several views of an image; their cost counts.
    Every repeat is synchronised. Slow networks have five repeats too, beyond the budget.
    """
    device = next(model.parameters()).device
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(
        batch, image_channels(model), image_size, image_size, generator=Key(0).generator(device), device=device
    )
    images = images.contiguous(memory_format=memory_format)
    predict: Predict = model.eval()
    for wrap in wrap_predict:
        predict = wrap(predict)

    return time_batches(predict, images, budget_s)


def time_batches(predict: Predict, images: Images, budget_s: float = 3.0) -> Timing:
    """Time ``predict`` on these images as ``time_inference`` does."""

    def once() -> float:
        synchronise(images.device)
        start = time.perf_counter()
        predict(images)
        synchronise(images.device)
        return time.perf_counter() - start

    with torch.inference_mode():
        once()
        repeats = int(min(50, max(5, budget_s / max(once(), 1e-9))))
        seconds = [once() for _ in range(repeats)]
    low, _, high = quantiles(seconds, n=4)
    return Timing(len(images), median(seconds), low, high, repeats)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak: of this run, whatever the process did before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # not Linux
            CLEAR_REFS.write_text(PEAK_OF_RSS, encoding="utf-8")


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak of tensors' memory since the reset on a GPU, of the process's resident set on a CPU.

    A system without /proc has the peak of the process's life alone, and Windows 0.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    with suppress(OSError, StopIteration):
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    return (peak_memory_bytes() or 0) / MIB
