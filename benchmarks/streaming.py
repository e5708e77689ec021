"""Images a second of photographs decoded, cropped, resized and flipped, beside torchvision's ImageFolder and v2.

    python benchmarks/streaming.py FOLDER [--size 224] [--rounds 5] [--workers 0 1 2]

FOLDER has a folder of JPEGs per class. Each round makes an epoch of batches each way, in turn, the order turning too;
what counts is the median. All sides end with a batch of bytes in one tensor, but for the rows that say "floats", which
end with normalised fp32 images as a training script's transforms do; ours are normalised on the device, for a whole
batch. torchvision is shown with ImageFolder's own Pillow reader and with torchvision's decoder in its place.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from platform import processor
from statistics import median, quantiles

import numpy as np
import torch
import torchvision
from PIL import features
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.handover import SharedSteps
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit
from bagoftricks.data.stream import StreamLoader, prepare_batches
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings, dataset_settings

Epoch = Callable[[int], Iterable[Tensor]]
Way = Callable[[int], Epoch]  # of a number of workers


def settings(decode: str) -> DataSettings:
    """A crop, a resize and a flip, nothing else."""
    return dataset_settings(crop="area", jitter="none", pca=0.0, decode=decode)


def ours(files: FileSplit, size: int, batch: int, decode: str) -> Way:
    """The package's workers, as far as the bytes."""
    augment = Augment.from_settings(settings(decode), size, Key(0))

    def way(workers: int) -> Epoch:
        loader = prepare_batches(
            files, StepPlan(len(files.labels), batch, Key(0)), augment, workers, kept=SharedSteps()
        )

        def epoch(number: int) -> Iterable[Tensor]:
            loader.batch_sampler.current = number  # type: ignore[union-attr]
            return (step.images for step in loader if step.images is not None)

        return epoch

    return way


def ours_floats(files: FileSplit, size: int, batch: int, classes: int) -> Way:
    """The package's loader, as far as what the network is given."""

    def way(workers: int) -> Epoch:
        data = settings("full")
        augment = Augment.from_settings(data, size, Key(0))
        finish = Finish(data, classes, torch.device("cpu"), channels_last=True)
        plan = StepPlan(len(files.labels), batch, Key(0))
        loader = StreamLoader(files, Preparation(plan, augment, finish), Reading(workers=workers, on_error="fail"))
        return lambda number: (made.images for made in loader.epoch(number))

    return way


def peer(root: str, size: int, batch: int, *, tensors: bool = False, floats: bool = False) -> Way:
    """torchvision's folder of images with its v2 transforms in a DataLoader."""
    moves: list[v2.Transform] = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    if not tensors:
        moves.append(v2.ToImage())
    if floats:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        moves += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    reader = {"loader": read_tensor} if tensors else {}
    folder = ImageFolder(root, v2.Compose(moves), **reader)

    def way(workers: int) -> Epoch:
        loader = DataLoader(
            folder, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        return lambda number: (images for images, _ in loader)

    return way


def read_tensor(path: str) -> Tensor:
    return decode_image(path, ImageReadMode.RGB)


def measure(epoch: Epoch, number: int) -> tuple[float, int]:
    start, count = time.perf_counter(), 0
    for made in epoch(number):
        count += len(made)
    return time.perf_counter() - start, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="times that the files are listed, for a longer epoch")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = ImageFolder(given.folder)
    paths, labels = zip(*folder.samples * given.repeats, strict=True)
    files = FileSplit(np.array(paths), np.array(labels, np.int64))
    size, batch, classes = given.size, given.batch, len(folder.classes)
    ways = {
        "this package": ours(files, size, batch, "full"),
        "this package, decode=scaled": ours(files, size, batch, "scaled"),
        "torchvision, Pillow": peer(given.folder, size, batch),
        "torchvision, its own decoder": peer(given.folder, size, batch, tensors=True),
        "this package, floats": ours_floats(files, size, batch, classes),
        "torchvision, Pillow, floats": peer(given.folder, size, batch, floats=True),
        "torchvision, its own decoder, floats": peer(given.folder, size, batch, tensors=True, floats=True),
    }
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow's libjpeg-turbo "
        f"{features.version('libjpeg_turbo')}; {processor() or 'CPU'}, {os.cpu_count()} cores; {len(folder.samples):,} "
        f"photographs to {size} pixels, batches of {batch}; n = {given.rounds} rounds\n\n"
        "| batches made by | workers | images/s, median | quartiles | ms of processor an image | ours over it |\n"
        "|---|---|---|---|---|---|"
    )
    for workers in given.workers:
        show(ways, workers, given.rounds)


def show(ways: dict[str, Way], workers: int, rounds: int) -> None:
    epochs = {name: way(workers) for name, way in ways.items()}
    speed: dict[str, list[float]] = {name: [] for name in epochs}
    spent: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(rounds + 1):
        for name, epoch in list(epochs.items())[:: 1 if number % 2 else -1]:
            before = time.process_time()
            seconds, count = measure(epoch, number)
            if number:  # the first round starts the workers and fills the caches
                speed[name].append(count / seconds)
                spent[name].append((time.process_time() - before) / count)
    for name, each in speed.items():
        low, _, high = quantiles(each, n=4)
        base = speed["this package, floats" if "floats" in name else "this package"]
        ratio = median(mine / other for mine, other in zip(base, each, strict=True))
        own = f"{1000 * median(spent[name]):.2f}" if workers == 0 else ""
        print(
            f"| {name} | {workers} | {median(each):,.0f} | {low:,.0f} to {high:,.0f} | {own} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
