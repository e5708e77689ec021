"""Our networks against timm's of the same architecture: throughput in inference and training, memory for training.

    python benchmarks/backbones.py [--device cuda] [--dtype bf16] [--compile] [--batch 8] [--pixels 224] [--repeats 10]

Both networks of a pair run in one process, a pass of each in turn, channels_last both, so that a slow moment of the
machine hits both. A ratio above 1 means that ours is faster: the median over pairs of passes, with its quartiles.
Memory is what autograd keeps for the backward pass (distinct storages, without the parameters), ours over timm's.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from statistics import median, quantiles

import timm
import torch
import torch.nn.functional as F
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.trick import Task
from bagoftricks.report.styles import draw_table
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.tricks.catalogue import create

DEPTHS = [3, 4, 6, 3]
RESNET50 = network_settings(name="resnet50", depths=DEPTHS, width=64)
RESNEXT50 = network_settings(name="resnext50", depths=DEPTHS, width=64, groups=32, group_width=4)
theirs = partial(ResNet, Bottleneck, DEPTHS)
Tricks = dict[str, dict[str, object]]

PAIRS: dict[str, tuple[ModelSettings, Tricks, Callable[[], nn.Module]]] = {
    "resnet_b": (RESNET50, {"resnet_b": {}}, partial(timm.create_model, "resnet50")),
    "resnet_d": (RESNET50, {"resnet_d": {}}, partial(timm.create_model, "resnet50d")),
    "se": (RESNET50, {"resnet_b": {}, "se": {"bias": True}}, partial(theirs, block_args={"attn_layer": "se"})),
    "eca": (RESNET50, {"resnet_b": {}, "eca": {}}, partial(theirs, block_args={"attn_layer": "eca"})),
    "anti_alias": (
        RESNET50,
        {"resnet_b": {}, "anti_alias": {"max_pool": True}},
        partial(timm.create_model, "resnetblur50"),
    ),
    "resnext50": (RESNEXT50, {"resnet_b": {}}, partial(timm.create_model, "resnext50_32x4d")),
    "dropblock": (RESNET50, {"resnet_b": {}, "dropblock": {}}, partial(theirs, drop_block_rate=0.1)),
    "stochastic_depth": (RESNET50, {"resnet_b": {}, "stochastic_depth": {}}, partial(theirs, drop_path_rate=0.2)),
}


def ours(spec: ModelSettings, tricks: Tricks, pixels: int) -> nn.Module:
    task = Task(1000, 256, 224)
    task.clock.progress.fill_(0.5)  # half-way: what drops something by the clock does so
    recipe = compose({name: create(name, **params) for name, params in tricks.items()}, task)
    return build_model(spec, recipe.parts, num_classes=1000, image_size=pixels)


def infer(model: nn.Module, images: Tensor, precision: Callable[[], object]) -> None:
    with torch.inference_mode(), precision():  # type: ignore[attr-defined]
        model(images)


def train(model: nn.Module, images: Tensor, precision: Callable[[], object]) -> None:
    with precision():  # type: ignore[attr-defined]
        loss = F.cross_entropy(model(images).float(), torch.zeros(len(images), dtype=torch.long, device=images.device))
    loss.backward()
    model.zero_grad()


def seconds(action: Callable[[], None], device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - start


def ratios(run: Callable[[nn.Module], None], pair: tuple[nn.Module, nn.Module], repeats: int) -> list[float]:
    """Their seconds over ours, for each pair of passes; which goes first alternates."""
    device = next(pair[0].parameters()).device
    for model in pair:
        run(model)
        run(model)
    found = []
    for repeat in range(repeats):
        order = (0, 1) if repeat % 2 else (1, 0)
        took = {which: seconds(partial(run, pair[which]), device) for which in order}
        found.append(took[1] / took[0])
    return found


def kept_for_backward(model: nn.Module, images: Tensor) -> int:
    """Bytes of distinct storages that autograd saves in one forward pass, the parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(images).sum()
    del loss
    return sum(kept.values())


def shown(values: list[float]) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(PAIRS), choices=list(PAIRS))
    args = parser.parse_args()
    device = torch.device(args.device)
    images = torch.randn(args.batch, 3, args.pixels, args.pixels, device=device).contiguous(
        memory_format=torch.channels_last
    )
    precision = partial(torch.autocast, device.type, torch.bfloat16) if args.dtype == "bf16" else nullcontext
    rows = []
    for name in args.only:
        spec, tricks, make = PAIRS[name]
        made = (ours(spec, tricks, args.pixels), make())
        pair = tuple(model.to(device).to(memory_format=torch.channels_last) for model in made)
        memory = kept_for_backward(pair[0], images) / kept_for_backward(pair[1], images)
        run = tuple(torch.compile(model) for model in pair) if args.compile else pair
        training = ratios(lambda model: train(model.train(), images, precision), run, args.repeats)
        inference = ratios(lambda model: infer(model.eval(), images, precision), run, args.repeats)
        rows.append([name, shown(inference), shown(training), f"{memory:.3f}"])
        print(*rows[-1], sep="  ", flush=True)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    mode = f"{args.dtype}, {'compiled' if args.compile else 'eager'}, batch {args.batch}, {args.pixels} pixels"
    print(f"\nours / timm {timm.__version__}, torch {torch.__version__}, {where}, {mode}, n = {args.repeats}\n")
    headings = ["network", "inference speed [quartiles]", "training speed [quartiles]", "memory"]
    print(draw_table(headings, rows, {0}, "markdown"))


if __name__ == "__main__":
    main()
