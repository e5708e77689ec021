"""Our networks against timm's of the same architecture: throughput in inference and training, memory for training.

    python benchmarks/backbones.py [--device cuda] [--dtype bf16] [--compile] [--batch 8] [--pixels 224] [--repeats 10]

Both networks of a pair run in one process, a pass of each in turn, channels_last both, so that a slow moment of the
machine hits both. A ratio above 1 means that ours is faster: the median over pairs of passes, with its quartiles.
Memory is what autograd keeps for the backward pass (distinct storages, without the parameters), ours over timm's.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import timm
import torch
import torch.nn.functional as F
from shared import Report, Spread, arguments, in_turn, ratios, seconds
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.trick import Task
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


def compared(run: Callable[[nn.Module], None], pair: tuple[nn.Module, ...], repeats: int) -> Spread:
    """Their seconds over ours, for each pair of passes."""
    device = next(pair[0].parameters()).device

    def timed(model: nn.Module) -> float:
        synchronise(device)
        return seconds(lambda: (run(model), synchronise(device)))

    found = in_turn({str(i): lambda _, model=model: timed(model) for i, model in enumerate(pair)}, repeats, warm=2)
    return ratios(found["1"], found["0"])


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


def rows(given: argparse.Namespace, report: Report) -> Iterator[list[str]]:
    """Yield a row for each pair of networks."""
    device, pixels = torch.device(given.device), given.pixels
    images = torch.randn(given.batch, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last)
    precision = partial(torch.autocast, device.type, torch.bfloat16) if given.dtype == "bf16" else nullcontext
    for name in given.only:
        spec, tricks, make = PAIRS[name]
        made = (ours(spec, tricks, pixels), make())
        pair = tuple(model.to(device).to(memory_format=torch.channels_last) for model in made)
        memory = kept_for_backward(pair[0], images) / kept_for_backward(pair[1], images)
        run = tuple(torch.compile(model) for model in pair) if given.compile else pair
        training = compared(lambda model: train(model.train(), images, precision), run, given.repeats)
        inference = compared(lambda model: infer(model.eval(), images, precision), run, given.repeats)
        yield [name, inference.text(3), training.text(3), f"{memory:.3f}"]
        report.ratio(f"{name}, training", f"timm {timm.__version__}", training)


def main() -> None:
    parser = arguments(__doc__, batch=8, pixels=224, repeats=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="*", default=list(PAIRS), choices=list(PAIRS))
    given = parser.parse_args()
    mode = f"{given.dtype}, {'compiled' if given.compile else 'eager'}, batch {given.batch}, {given.pixels} pixels"
    report = Report(f"{mode}, {torch.get_num_threads()} threads, n = {given.repeats}; ours over timm's", given.device)
    report.table(
        ["network", "inference speed [quartiles]", "training speed [quartiles]", "memory"], rows(given, report)
    )


if __name__ == "__main__":
    main()
