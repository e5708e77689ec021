"""Step d: images a second of training ResNet-50, ours beside timm's network and the step of its train.py; from JPEGs.

224 pixels, bf16 autocast, channels_last, torch.compile on both sides. Each round takes some steps each way, in turn,
the order turning too, on random data that lies on the device. Then our side is trained from JPEGs, decoded in full by
workers and by nvJPEG.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median

import timm
import torch
from on_gpu.ledger import Work
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
from bagoftricks.settings import ModelSettings, dataset_settings, network_settings
from bagoftricks.training.compiled import compile_on, compiled, grey_images
from bagoftricks.training.parameters import train_mode
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

CLASSES = 1000
OURS, THEIRS = "ours", f"timm {timm.__version__}"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    network: ModelSettings
    batch: int = 256
    pixels: int = 224
    rounds: int = 7
    steps: int = 20
    copies: int = 20  # of each photograph, so that there are enough for some batches
    compile: bool = True


FULL = Size(network_settings(name="resnet50", depths=[3, 4, 6, 3], width=64))
SMALL = Size(network_settings(name="small", depths=[1, 1, 1, 1], width=16), 4, 72, 2, 2, 1, compile=False)


def measure(work: Work) -> bool:
    """Measure on random data, then from JPEGs; return True when all is measured."""
    size, device = SMALL if work.dry else FULL, torch.device(work.device)
    trainer = ours(size, device)
    if not work.done(trained_by=OURS):
        side_by_side(work, size, {OURS: trainer.step, THEIRS: timms(size, device)}, device)
    for decode in ("full", "gpu") if device.type == "cuda" else ("full",):
        name = f"{OURS}, from JPEGs, decode={decode}"
        if not work.done(trained_by=name):
            with photographs(work.data / "imagenet-sample", size.copies) as folder:
                for speed in islice(fed(trainer, size, device, folder, decode), 1, size.rounds):
                    work.add(**row(name, speed, size))
    return True


def row(name: str, images_per_s: float, size: Size) -> dict[str, str | float]:
    about = f"batches of {size.batch} at {size.pixels} pixels, {'compiled' if size.compile else 'eager'}"
    return {"trained_by": name, "how": about, "images/s": images_per_s}


def side_by_side(work: Work, size: Size, ways: dict[str, Callable[[Batch], Tensor]], device: torch.device) -> None:
    """Take turns; keep each round but the first, which compiles what is left to compile."""
    images = torch.randn(size.batch, 3, size.pixels, size.pixels, generator=Key(0).generator()).to(device)
    targets = torch.eye(CLASSES, device=device)[torch.arange(size.batch, device=device) % CLASSES]
    batches = [Batch(images.contiguous(memory_format=torch.channels_last), targets)] * size.steps
    ratios = []
    for number in range(size.rounds + 1):
        speeds = {}
        for name, step in list(ways.items())[:: 1 if number % 2 else -1]:
            speeds[name] = speed(step, batches, device)
            if number:
                work.add(**row(name, speeds[name], size))
        ratios += [speeds[OURS] / speeds[THEIRS]] if number else []
    work.add(text=f"Images a second, ours over timm's in the same round: {median(ratios):.3f} (median)")


def ours(size: Size, device: torch.device) -> Trainer:
    """The form B, as timm's, in the package's trainer."""
    task = Task(CLASSES, size.batch, size.pixels)
    recipe = compose({name: create(name) for name in ("mixed_precision", "resnet_b")}, task)
    model = build_model(size.network, recipe.parts, num_classes=CLASSES, image_size=size.pixels)
    model = to_device(model, device, channels_last=True)
    trainer = Trainer(recipe, model, task, Length(1000, 1000), TrainerSetup(key=Key(0), lr=0.1, weight_decay=1e-4))
    if size.compile:
        trainer.forward = compiled(model, "default")
        with torch.autocast(device.type, torch.bfloat16):
            compile_on(trainer.forward, model, grey_images(size.batch, size.pixels, device, channels_last=True))
    train_mode(model)
    return trainer


def timms(size: Size, device: torch.device) -> Callable[[Batch], Tensor]:
    """timm's network, optimiser and step."""
    layers = {} if size.compile else {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128), "stem_width": 16}
    made = timm.create_model("resnet50", num_classes=CLASSES, **layers)
    model = made.to(device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, weight_decay=1e-4, momentum=0.9)
    forward = torch.compile(model) if size.compile else model
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


@contextmanager
def photographs(sample: Path, copies: int) -> Iterator[Path]:
    """A folder for training with each photograph so many times, by links."""
    with tempfile.TemporaryDirectory() as name:
        for file in sorted(sample.glob("*/*")):
            place = Path(name) / "train" / file.parent.name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(copies):
                (place / f"{number}-{file.name}").symlink_to(file)
        yield Path(name)


def fed(trainer: Trainer, size: Size, device: torch.device, folder: Path, decode: str) -> Iterator[float]:
    """Yield images a second of some steps on batches made of photographs, without end."""
    data = dataset_settings(name="imagefolder", root=str(folder), holdout=0.1, decode=decode, cache="none")
    loader = train_loader(
        find_dataset(data).train,
        data,
        Finish(data, CLASSES, device, channels_last=True),
        TrainBatches(size=size.pixels, batch_size=size.batch, reads=1, key=Key(0)),
        Reading(workers=0 if size is SMALL else -1),
    )
    endless = (batch for epoch in count() for batch in loader.epoch(epoch))
    while True:
        synchronise(device)
        start, images = time.perf_counter(), 0
        for batch in islice(endless, size.steps):
            trainer.step(batch)
            images += len(batch)
        synchronise(device)
        yield images / (time.perf_counter() - start)
