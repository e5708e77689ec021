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
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from shared import Report, Spread, arguments, in_turn, ratios, seconds, spread
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


def compare(one: Step, other: Step, steps: int) -> tuple[Spread, Spread, Spread]:
    """Return the seconds of each step of both, taken in turn, and their ratio."""
    found = in_turn({"one": lambda _: seconds(one), "other": lambda _: seconds(other)}, steps, warm=5)
    return spread(found["one"]), spread(found["other"]), ratios(found["other"], found["one"])


def measured(
    device: torch.device, world: World, given: argparse.Namespace
) -> Iterator[tuple[str, str, tuple[Spread, ...]]]:
    """Yield what is compared with what, and the figures."""
    cuda = device.type == "cuda"
    for name in given.cases:
        network, pixels, count = CASES[name]
        steps = given.steps if cuda or name != "ResNet-50" else max(1, given.steps // 4)
        torch.manual_seed(0)
        model = build_model(network, {}, num_classes=10, image_size=pixels)
        images = torch.randn(count, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (count,), device=device)
        copies = [to_device(deepcopy(model), device, channels_last=True).train() for _ in range(4)]
        one, other = ours(copies[0], world, images, labels), torchs(copies[1], images, labels)
        yield f"{name}, gradients", "DistributedDataParallel", compare(one, other, steps)
        synchronise_norms(copies[2], world)
        one, theirs = ours(copies[2], world, images, labels), copies[3]
        if cuda:
            theirs = nn.SyncBatchNorm.convert_sync_batchnorm(theirs)
        what = "with SyncBatchNorm" if cuda else "norms of each rank's images"
        yield f"{name}, norms too", what, compare(one, torchs(theirs, images, labels), steps)


def rank(device: torch.device, given: argparse.Namespace) -> None:
    """Compare on this rank; the first one reports."""
    world = join(device)
    found = measured(device, world, given)
    if not world.leads:
        list(found)
        world.shutdown()
        return
    report = Report(f"{world.size} ranks, n = {given.steps} steps (of ResNet-50 on a CPU a quarter)", given.device)

    def row(what: str, against: str, times: tuple[Spread, ...]) -> list[str]:
        if "gradients" in what:
            report.ratio(f"data parallel, {what}", against, times[2])
        return [what, times[0].text(1, scale=1000), against, times[1].text(1, scale=1000), times[2].text()]

    report.table(["step", "ours, ms", "compared with", "ms", "its time over ours"], (row(*each) for each in found))
    world.shutdown()


def main() -> None:
    parser = arguments(__doc__, ranks=2, steps=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    if "RANK" not in os.environ:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={given.ranks}", *sys.argv]
        sys.exit(subprocess.run([sys.executable, *start], check=False).returncode)
    index = f":{os.environ['LOCAL_RANK']}" if given.device == "cuda" else ""
    rank(torch.device(f"{given.device}{index}"), given)


if __name__ == "__main__":
    main()
