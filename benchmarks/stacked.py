"""Several seeds of one network trained at once: as one program (torch.func.vmap), and on streams of a GPU.

    OMP_NUM_THREADS=1 python benchmarks/stacked.py [--device cuda] [--seeds 2 4 8] [--batch 128] [--pixels 32]

Each seed has images of its own. Printed: the time of a gradient of every seed one after the other over the time of all
at once (above 1: at once is faster), medians of rounds in turn, and how far the gradients are from those of a seed
alone, relative to the largest. A run's bits are those of the run alone only where that is 0. Not yet tried on CUDA.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from shared import Report, arguments, in_turn, ratios, seconds, spread
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.settings import network_settings

Gradients = list[list[Tensor]]  # of each seed


def one_by_one(nets: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], Gradients]:
    def gradients() -> Gradients:
        losses = (F.cross_entropy(net(x), y) for net, x, y in zip(nets, images, labels, strict=True))
        return [list(torch.autograd.grad(loss, list(net.parameters()))) for net, loss in zip(nets, losses, strict=True)]

    return gradients


def as_one(nets: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], Gradients]:
    parameters, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    base, names = deepcopy(nets[0]).to("meta"), [name for name, _ in nets[0].named_parameters()]

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(base, (parameters, buffers), (images,)), labels)

    def gradients() -> Gradients:
        made = vmap(grad(loss))(parameters, buffers, images, labels)
        return [[made[name][i] for name in names] for i in range(len(nets))]

    return gradients


def on_streams(nets: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], Gradients]:
    streams = [torch.cuda.Stream(images.device) for _ in nets]  # type: ignore[no-untyped-call]

    def gradients() -> Gradients:
        made, now = [], torch.cuda.current_stream(images.device)
        for net, x, y, stream in zip(nets, images, labels, streams, strict=True):
            stream.wait_stream(now)
            with torch.cuda.stream(stream):
                made.append(list(torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))))
        for stream in streams:
            now.wait_stream(stream)
        return made

    return gradients


@torch.no_grad()
def farthest(made: Gradients, alone: Gradients) -> float:
    """The largest difference, relative to the largest number of its tensor."""
    pairs = [pair for ours, own in zip(made, alone, strict=True) for pair in zip(ours, own, strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def compare(seeds: int, given: argparse.Namespace) -> Iterator[list[object]]:
    device = torch.device(given.device)
    spec = network_settings(name="cifarnet", kind="cifarnet", widths=given.widths)
    made = [build_model(spec, {}, num_classes=10, image_size=given.pixels) for _ in range(seeds)]
    nets = [to_device(net, device, channels_last=True).train() for net in made]
    images = torch.randn(seeds, given.batch, 3, given.pixels, given.pixels, device=device)
    labels = torch.randint(10, (seeds, given.batch), device=device)
    ways = {"one by one": one_by_one(nets, images, labels), "vmap": as_one(nets, images, labels)}
    if device.type == "cuda":
        ways["streams"] = on_streams(nets, images, labels)
    alone = ways["one by one"]()

    def timed(way: Callable[[], Gradients]) -> Callable[[int], float]:
        return lambda number: seconds(lambda: (way(), synchronise(device)))

    spent = in_turn({name: timed(way) for name, way in ways.items()}, given.rounds)
    base = spent.pop("one by one")
    for name, of_way in spent.items():
        apart = farthest(ways[name](), alone)
        yield [seeds, name, spread(base).text(1, scale=1000), ratios(base, of_way).text(), f"{apart:.1e}", given.rounds]


def main() -> None:
    parser = arguments(__doc__, batch=128, pixels=32, rounds=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--widths", type=int, nargs="+", default=[24, 32, 64, 64])
    given = parser.parse_args()
    report = Report(
        f"batches of {given.batch} images of {given.pixels} pixels, {given.rounds} rounds in turn", given.device
    )
    headings = ["seeds", "at once by", "one by one, ms [quartiles]", "one by one over it", "apart by", "n"]
    report.table(headings, (row for seeds in given.seeds for row in compare(seeds, given)))


if __name__ == "__main__":
    main()
