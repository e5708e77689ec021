"""Images a second in training, beside the same network trained through timm's loader and the step of its train.py.

    python benchmarks/training.py FOLDER [--override preset=cifar_laptop ...] [--images 6400] [--rounds 5] [--workers 2]

FOLDER has train/<class>/*.jpg of 32 pixels. Each round trains a short epoch each way, in turn, the order turning too:
our loader and trainer as composed from the overrides; timm's loader over the same files, and over the same images
decoded before (as torchvision's CIFAR10 gives them), with pad-and-crop and flip, its prefetcher, SGD and autocast. All
have the same batch, precision and memory format. The time of an epoch is all of it, from asking for the first batch to
having the last loss.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from shared import Report, arguments, in_turn, ratios, spread
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import nn
from torch.utils.data import Dataset, Subset
from torchvision import transforms as tv

from bagoftricks.cli.compose import compose_settings
from bagoftricks.models import to_device
from bagoftricks.rng import Key
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import make_trainer
from bagoftricks.settings import Settings

Epoch = Callable[[int], int]  # trains an epoch; the images it saw
LOG_EVERY = 50  # steps between timm's readings of its loss


class Decoded(Dataset[tuple[Image.Image, int]]):
    """Some images of a data set, decoded beforehand."""

    def __init__(self, files: Any, rows: list[int]) -> None:
        self.items = [(image.copy(), label) for image, label in (files[row] for row in rows)]
        self.transform: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.items[index]
        return (self.transform(image) if self.transform else image), label


def ours(settings: Settings) -> tuple[Epoch, nn.Module]:
    prepared = prepare(settings)
    train, _ = loaders(prepared)
    trainer = make_trainer(prepared, len(train), sample=train.sample)

    def epoch(number: int) -> int:
        losses = list(trainer.epoch(train.epoch(number)))
        torch.stack(losses).mean().item()
        return train.images

    return epoch, trainer.model


def theirs(images: Any, model: nn.Module, settings: Settings, workers: int, *, half: bool) -> Epoch:
    """timm's create_loader, create_optimizer_v2 and the loop of train.py; a copy of the network is trained."""
    data, device = settings.data, torch.device("cpu")
    model = to_device(deepcopy(model), device, channels_last=settings.runtime.channels_last)
    loader = create_loader(
        images, (3, settings.pixels, settings.pixels), settings.batch_size, is_training=True, color_jitter=0.0,
        mean=tuple(m / 255 for m in data.mean), std=tuple(s / 255 for s in data.std), num_workers=workers,
        device=device, persistent_workers=True,
    )  # fmt: skip
    whole = images.dataset if isinstance(images, Subset) else images
    whole.transform = tv.Compose([tv.RandomCrop(settings.pixels, data.pad), tv.RandomHorizontalFlip(), ToNumpy()])
    optimizer = create_optimizer_v2(model, "sgd", lr=settings.lr, weight_decay=settings.weight_decay, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def epoch(number: int) -> int:
        model.train()
        losses, seen = AverageMeter(), 0
        for step, (inputs, targets) in enumerate(loader):
            if settings.runtime.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
                loss = loss_fn(model(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seen += len(inputs)
            if step % LOG_EVERY == 0:
                losses.update(loss.item(), len(inputs))
        return seen

    return epoch


class ToNumpy:
    """What timm's collate function expects with its prefetcher: bytes, channels first."""

    def __call__(self, image: Image.Image) -> Any:
        return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1))


def main() -> None:
    parser = arguments(__doc__, images=6400, rounds=5, workers=2, threads=2)
    parser.add_argument("folder")
    parser.add_argument("--override", nargs="*", default=["preset=cifar_laptop"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    place_of = ["data=imagefolder", f"data.root={given.folder}", "data.num_classes=10", "runtime.device=cpu"]
    numbers = ["data.mean=[125.31,122.95,113.87]", "data.std=[62.99,62.09,66.70]", f"data.limit={given.images}"]
    settings = compose_settings([*given.override, *place_of, *numbers, "image_size=32", "epochs=1000"])
    half = "mixed_precision" in settings.tricks
    mine, model = ours(settings)
    files = create_dataset("", root=f"{given.folder}/train")
    rows = Key(0).numpy().permutation(len(files))[: given.images].tolist()
    ways = {
        "this package": mine,
        f"timm, files, {given.workers} workers": theirs(
            Subset(create_dataset("", root=f"{given.folder}/train"), rows), model, settings, given.workers, half=half
        ),
        f"timm, decoded images, {given.workers} workers": theirs(
            Decoded(files, rows), model, settings, given.workers, half=half
        ),
    }

    def speed(epoch: Epoch, number: int) -> float:
        start = time.perf_counter()
        count = epoch(number)
        return count / (time.perf_counter() - start)

    found = in_turn(
        {name: partial(speed, epoch) for name, epoch in ways.items()}, given.rounds
    )  # the first starts workers
    report = Report(
        f"{given.threads} threads; {settings.model.name}, batches of {settings.batch_size}, "
        f"{'bf16 autocast' if half else 'fp32'}; n = {given.rounds} epochs of {given.images:,} images each way"
    )
    over = {name: ratios(found["this package"], each) for name, each in found.items()}
    rows = ([name, spread(each).text(0), over[name].text()] for name, each in found.items())
    report.table(["trained by", "images/s [quartiles]", "ours over it"], rows)
    for name in list(ways)[1:]:
        report.ratio(f"training {settings.model.name}", name, over[name])


if __name__ == "__main__":
    main()
