"""Images a second of training ResNet-50, ours beside timm's network and the step of its train.py; then fed from JPEGs.

    python benchmarks/resnet50.py [--photographs FOLDER] [--batch 256] [--rounds 7] [--device cuda]
    python benchmarks/resnet50.py --device cpu --small                     # the same code in a tiny form

224 pixels, bf16 autocast, channels_last, torch.compile on both sides. Each round takes some steps each way, in turn,
the order turning too, on random data that lies on the device; ``--photographs`` then trains our side from a folder of
JPEGs per class, decoded in full by workers and by nvJPEG, over the random data. Not yet tried on CUDA.
"""

import argparse
import os
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles

import timm
import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from bagoftricks.data import find_dataset, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.data.loaders import TrainBatches
from bagoftricks.data.preparation import Reading
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings, network_settings
from bagoftricks.training.compiled import compile_on, compiled, grey_images
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

CLASSES = 1000
FULL = network_settings(name="resnet50", depths=[3, 4, 6, 3], width=64)
SMALL = network_settings(name="small", depths=[1, 1, 1, 1], width=16)


def ours(given: argparse.Namespace, device: torch.device) -> Trainer:
    """The form B, as timm's, in the package's trainer."""
    task = Task(CLASSES, given.batch, 224)
    recipe = compose({name: create(name) for name in ("mixed_precision", "resnet_b")}, task)
    model = build_model(SMALL if given.small else FULL, recipe.parts, num_classes=CLASSES, image_size=given.pixels)
    model = to_device(model, device, channels_last=True)
    trainer = Trainer(recipe, model, task, Length(1000, 1000), TrainerSetup(key=Key(0), lr=0.1, weight_decay=1e-4))
    if not given.small:
        trainer.forward = compiled(model, given.mode)
        with torch.autocast(device.type, torch.bfloat16):
            compile_on(trainer.forward, model, grey_images(given.batch, given.pixels, device, channels_last=True))
    model.train()
    return trainer


def timms(given: argparse.Namespace, device: torch.device) -> Callable[[Batch], Tensor]:
    """timm's network, optimiser and step."""
    layers = {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128), "stem_width": 16} if given.small else {}
    made = timm.create_model("resnet50", num_classes=CLASSES, **layers)
    model = made.to(device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=1e-4, momentum=0.9)
    forward = model if given.small else torch.compile(model, mode=given.mode)
    loss_fn = nn.CrossEntropyLoss()

    def step(batch: Batch) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_fn(forward(batch.images), batch.targets.argmax(1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def speed(step: Callable[[Batch], Tensor], batches: list[Batch], device: torch.device) -> float:
    """Images a second of these steps."""
    synchronise(device)
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    synchronise(device)
    return sum(len(batch) for batch in batches) / (time.perf_counter() - start)


def fed(trainer: Trainer, given: argparse.Namespace, device: torch.device, decode: str) -> list[float]:
    """Images a second with batches made of photographs, in each round after the first."""
    data = dataset_settings(name="imagefolder", root=str(given.photographs), holdout=0.01, decode=decode)
    found = find_dataset(data)
    finish = Finish(data, CLASSES, device, channels_last=True)
    loader = train_loader(
        found.train,
        data,
        finish,
        TrainBatches(size=given.pixels, batch_size=given.batch, reads=1, key=Key(0)),
        Reading(workers=-1),
    )
    endless = (batch for epoch in cycle(range(1000)) for batch in loader.epoch(epoch))
    measured = []
    for _ in range(given.rounds + 1):
        synchronise(device)
        start, count = time.perf_counter(), 0
        for batch in islice(endless, given.steps):
            trainer.step(batch)
            count += len(batch)
        synchronise(device)
        measured.append(count / (time.perf_counter() - start))
    return measured[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--small", action="store_true", help="a narrow network of few blocks, not compiled")
    given = parser.parse_args()
    device = torch.device(given.device)
    images = torch.randn(given.batch, 3, given.pixels, given.pixels, generator=Key(0).generator()).to(device)
    targets = torch.eye(CLASSES, device=device)[torch.arange(given.batch, device=device) % CLASSES]
    batches = [Batch(images.contiguous(memory_format=torch.channels_last), targets)] * given.steps
    trainer = ours(given, device)
    ways = {"this package": trainer.step, f"timm {timm.__version__}": timms(given, device)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.rounds + 1):
        for name, step in list(ways.items())[:: 1 if number % 2 else -1]:
            measured = speed(step, batches, device)
            if number:
                spent[name].append(measured)
    if given.photographs:
        for decode in ("full", "gpu") if device.type == "cuda" else ("full",):
            spent[f"this package, from JPEGs, decode={decode}"] = fed(trainer, given, device, decode)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"
    print(
        f"torch {torch.__version__}; {where}; batches of {given.batch} at {given.pixels} pixels, bf16, channels_last, "
        f"{'eager' if given.small else f'torch.compile, {given.mode}'}; "
        f"n = {given.rounds} rounds of {given.steps} steps\n\n"
        "| trained by | images/s, median | quartiles | over ours on random data |\n|---|---|---|---|"
    )
    for name, each in spent.items():
        low, _, high = quantiles(each, n=4)
        ratio = median(mine / other for mine, other in zip(each, spent["this package"], strict=True))
        print(f"| {name} | {median(each):,.0f} | {low:,.0f} to {high:,.0f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
