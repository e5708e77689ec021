"""Images a second of the batches made in memory, beside torchvision's v2 transforms in a DataLoader of two workers.

    python benchmarks/augment.py [--device cuda] [--batch 512] [--rounds 7]

Both make the same training batches of 50,000 images at 32x32: pad 4 and crop, flip, normalise, and a square of 8x8 at
the mean colour, in fp32. One process; each round makes an epoch each way, in turn, and what counts is the median.
The peer gets bytes as tensors, one image at a time as its transforms are meant, and the fastest of several orders,
which a trial finds. Its transforms on a whole batch, where one draw serves all the images, are shown for information.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

import numpy as np
import torch
from shared import Report, arguments, in_turn, ratios, spread
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from bagoftricks.data.augment import Finish
from bagoftricks.data.loaders import TrainBatches, train_loader
from bagoftricks.data.preparation import Reading
from bagoftricks.data.sources import MemorySplit
from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.trick import Task
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings
from bagoftricks.tricks.catalogue import create

COUNT, CLASSES, SIDE, PAD, WORKERS = 50_000, 10, 32, 4, 2
SETTINGS = dataset_settings(mean=[125.31, 122.95, 113.87], std=[62.99, 62.09, 66.70], crop="pad", pad=PAD)
KEY, OURS = Key(0), "this package, in memory"

NORMALISE = v2.Normalize([m / 255 for m in SETTINGS.mean], [s / 255 for s in SETTINGS.std], inplace=True)
FLOATS = v2.ToDtype(torch.float32, scale=True)
CROP, FLIP = v2.RandomCrop(SIDE, padding=PAD), v2.RandomHorizontalFlip()
SQUARE = v2.RandomErasing(p=1, scale=(64 / SIDE**2,) * 2, ratio=(1, 1), inplace=True)
ORDERS = {
    "crop, flip, floats, normalise, erase": [CROP, FLIP, FLOATS, NORMALISE, SQUARE],
    "flip, crop, floats, normalise, erase": [FLIP, CROP, FLOATS, NORMALISE, SQUARE],
    "crop out of padded images, flip, floats, normalise, erase": [
        v2.RandomCrop(SIDE), FLIP, FLOATS, NORMALISE, SQUARE
    ],
}  # fmt: skip

Epoch = Callable[[int], Iterable[Tensor]]


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images that a transform prepares one at a time."""

    def __init__(self, images: Tensor, labels: Tensor, transform: v2.Transform) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def ours(images: Tensor, labels: Tensor, device: torch.device, batch: int, count: int) -> Epoch:
    """The package's loader, and the trick that hides a square."""
    split = MemorySplit(images.contiguous(memory_format=torch.channels_last), labels.numpy())
    finish = Finish(SETTINGS, CLASSES, device, channels_last=True)
    loader = train_loader(
        split, SETTINGS, finish, TrainBatches(size=SIDE, batch_size=batch, reads=1, key=KEY), Reading(workers=0)
    )
    ((_, erase),) = compose({"cutout": create("cutout")}, Task(CLASSES, batch, 32)).map_batch

    def epoch(number: int) -> Iterable[Tensor]:
        for step, made in enumerate(islice(loader.epoch(number), count // batch)):
            yield erase(made, KEY.fold("cutout", number * len(loader) + step)).images

    return epoch


def peer(images: Tensor, labels: Tensor, device: torch.device, batch: int, count: int, order: str) -> Epoch:
    """torchvision's transforms on each image, in workers of one thread each (the DataLoader's own setting)."""
    if "padded" in order:
        images = torch.nn.functional.pad(images, (PAD,) * 4)
    data = Transformed(images, labels, v2.Compose(ORDERS[order]))
    loader = DataLoader(
        data,
        batch_size=batch,
        sampler=RandomSampler(data, num_samples=count, generator=KEY.generator()),
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )
    return lambda number: (made.to(device, non_blocking=True) for made, _ in loader)


def batchwise(images: Tensor, device: torch.device, batch: int, count: int) -> Epoch:
    """torchvision's transforms on a whole batch: every image is cropped, flipped and erased alike."""
    transform, images = v2.Compose(ORDERS["crop, flip, floats, normalise, erase"]), images.to(device)

    def epoch(number: int) -> Iterable[Tensor]:
        rows = torch.from_numpy(KEY.fold("order", number).numpy().permutation(len(images))).to(device)
        for step in range(count // batch):
            yield transform(images[rows[step * batch : (step + 1) * batch]])

    return epoch


def seconds(epoch: Epoch, number: int, device: torch.device) -> float:
    """Time for each image of an epoch."""
    synchronise(device)
    start, count = time.perf_counter(), 0
    for made in epoch(number):
        count += len(made)
    synchronise(device)
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = arguments(__doc__, batch=512, rounds=7, threads=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=COUNT, help="of the 50,000 in each round")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    images = torch.randint(0, 256, (COUNT, 3, SIDE, SIDE), generator=KEY.generator(), dtype=torch.uint8)
    labels = torch.from_numpy(np.arange(COUNT) % CLASSES)
    make = partial(peer, images, labels, device, given.batch, given.images)
    trials = {order: seconds(make(order), 0, device) for order in ORDERS}
    epochs = {
        OURS: ours(images, labels, device, given.batch, given.images),
        f"torchvision v2, {WORKERS} workers": make(min(trials, key=trials.__getitem__)),
        "torchvision v2, a batch at a time (one draw for all)": batchwise(images, device, given.batch, given.images),
    }
    ways = {name: lambda number, epoch=epoch: seconds(epoch, number, device) for name, epoch in epochs.items()}
    spent = in_turn(ways, given.rounds)
    report = Report(
        f"{given.threads} threads here, {WORKERS} workers of one there; batches of {given.batch}; "
        f"n = {given.rounds} rounds of {given.images:,} images. torchvision's orders, us an image: "
        + "; ".join(f"{order}: {1e6 * each:.1f}" for order, each in trials.items()),
        given.device,
    )
    found = {name: (spread(each), ratios(each, spent[OURS])) for name, each in spent.items()}
    rows = (
        [name, each.text(scale=1e6), f"{1 / each.median:,.0f}", times.text(1)] for name, (each, times) in found.items()
    )
    report.table(["batches made by", "us an image [quartiles]", "images/s", "times the first"], rows)
    for name, (each, times) in found.items():
        report.bar("Batches in memory, 32 pixels", "us an image", name, each, scale=1e6)
        if name == OURS:
            continue
        report.ratio("batches in memory, 32 pixels", name, times)


if __name__ == "__main__":
    main()
