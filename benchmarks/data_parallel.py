"""Data parallel training: our averaged gradients and synchronised norms compared with torch's.

    python benchmarks/data_parallel.py [--ranks 2] [--device cuda] [--steps 40]

Ranks of one machine train copies of one network on the same random images: through MeanGradients, and through
DistributedDataParallel, a step of each in turn, so that a slow moment of the machine hits both. Then the same with
batch norms over all ranks: synchronise_norms, and on a GPU SyncBatchNorm, which has no form for CPUs; on a CPU ours
are compared with norms that are not synchronised. Printed: median times, and the median of the ratios of neighbouring
steps with its quartiles (above 1: ours is faster).
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bagoftricks.distributed import World, join
from bagoftricks.distributed.gradients import MeanGradients
from bagoftricks.distributed.norms import synchronise_norms
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.settings import network_settings

CASES = {  # name: (network, pixels, images of each rank)
    "digits": (network_settings(), 8, 32),
    "CIFAR": (network_settings(block="basic", depths=[2, 2, 2]), 32, 64),
    "ResNet-50": (network_settings(block="bottleneck", depths=[3, 4, 6, 3], width=64, stem="imagenet"), 224, 4),
}
Step = Callable[[], None]


def step_of(model: nn.Module, images: Tensor, labels: Tensor, backward: Callable[[Tensor], None]) -> Step:
    """Return one step of plain SGD."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        backward(F.cross_entropy(model(images), labels))
        optimizer.step()
        synchronise(images.device)

    return step


def ours(model: nn.Module, world: World, images: Tensor, labels: Tensor) -> Step:
    """Return a step whose gradients MeanGradients averages."""
    gradients = MeanGradients(world, model.parameters())

    def backward(loss: Tensor) -> None:
        gradients.backward(loss, last=True)
        gradients.finish()

    return step_of(model, images, labels, backward)


def torchs(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Return a step of DistributedDataParallel."""
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    return step_of(wrapped, images, labels, lambda loss: loss.backward())


def compare(one: Step, other: Step, steps: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each step of both, taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(steps + 5):
        for step, found in zip(
            (one, other)[:: 1 if number % 2 else -1], times[:: 1 if number % 2 else -1], strict=True
        ):
            began = time.perf_counter()
            step()
            if number >= 5:
                found.append(time.perf_counter() - began)
    return times


def report(name: str, world: World, times: tuple[list[float], list[float]], other: str) -> None:
    if not world.leads:
        return
    ratios = [theirs / mine for mine, theirs in zip(*times, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    milliseconds = [1000 * median(found) for found in times]
    print(
        f"{name}: ours {milliseconds[0]:.1f} ms, {other} {milliseconds[1]:.1f} ms; ratio {median(ratios):.3f} "
        f"[{low:.3f}, {high:.3f}], n = {len(ratios)}",
        flush=True,
    )


def rank(device: torch.device, steps: int) -> None:
    """Compare on this rank."""
    world = join(device)
    cuda = device.type == "cuda"
    for name, (network, pixels, count) in CASES.items():
        if name == "ResNet-50" and not cuda:
            steps = max(10, steps // 4)
        torch.manual_seed(0)
        model = build_model(network, {}, num_classes=10, image_size=pixels)
        images, labels = (
            torch.randn(count, 3, pixels, pixels, device=device),
            torch.randint(10, (count,), device=device),
        )
        copies = [to_device(deepcopy(model), device, channels_last=True).train() for _ in range(4)]
        images = images.contiguous(memory_format=torch.channels_last)
        one, other = ours(copies[0], world, images, labels), torchs(copies[1], images, labels)
        report(f"{name}, gradients", world, compare(one, other, steps), "DistributedDataParallel")
        synchronise_norms(copies[2], world)
        one, theirs = ours(copies[2], world, images, labels), copies[3]
        if cuda:
            theirs = nn.SyncBatchNorm.convert_sync_batchnorm(theirs)
        what = "with SyncBatchNorm" if cuda else "norms of each rank's images"
        report(f"{name}, norms too", world, compare(one, torchs(theirs, images, labels), steps), what)
    world.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    if "RANK" not in os.environ:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={given.ranks}", *sys.argv]
        sys.exit(subprocess.run([sys.executable, *start], check=False).returncode)
    index = f":{os.environ['LOCAL_RANK']}" if given.device == "cuda" else ""
    rank(torch.device(f"{given.device}{index}"), given.steps)


if __name__ == "__main__":
    main()
