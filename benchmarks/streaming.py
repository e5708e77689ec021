"""Images a second of photographs decoded, cropped, resized and flipped, beside torchvision's ImageFolder and v2.

    python benchmarks/streaming.py FOLDER [--size 224] [--rounds 5] [--workers 0 1 2]

FOLDER has a folder of JPEGs per class. Each round makes an epoch of batches each way, in turn, the order turning too;
what counts is the median. All sides end with a batch of bytes in one tensor, but for the rows that say "floats", which
end with normalised fp32 images as a training script's transforms do; ours are normalised on the device, for a whole
batch. torchvision is shown with ImageFolder's own Pillow reader and with torchvision's decoder in its place.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import features
from shared import Report, arguments, in_turn, ratios, spread
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.decode import decode_jpeg_code
from bagoftricks.data.decode_part import row_decoder
from bagoftricks.data.handover import SharedSteps
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit
from bagoftricks.data.stream import StreamLoader, prepare_batches
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings, dataset_settings

OURS, SCALED, FLOOR = "this package", "this package, decode=scaled", "decoding whole photographs, nothing else"
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


def decoding_alone(paths: list[str]) -> Way:
    """All photographs decoded in full by libjpeg-turbo, in this process, and nothing else."""
    codes = [torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8) for path in paths]
    return lambda workers: lambda number: (decode_jpeg_code(code)[None] for code in codes)


def read_tensor(path: str) -> Tensor:
    return decode_image(path, ImageReadMode.RGB)


def measure(epoch: Epoch, number: int) -> tuple[float, float]:
    """Return images a second, and seconds of processor an image."""
    start, spent, count = time.perf_counter(), time.process_time(), 0
    for made in epoch(number):
        count += len(made)
    return count / (time.perf_counter() - start), (time.process_time() - spent) / count


def rows(ways: dict[str, Way], counts: list[int], rounds: int, report: Report) -> Iterator[list[str]]:
    """Yield a row for each way and number of workers."""
    for workers in counts:  # the first round starts them and fills the caches
        made = {name: partial(measure, way(workers)) for name, way in ways.items() if name != FLOOR or not workers}
        found = in_turn(made, rounds)
        speeds = {name: [speed for speed, _ in each] for name, each in found.items()}
        for name, each in speeds.items():
            base = OURS + (", floats" if "floats" in name else "")
            ratio, middle = ratios(speeds[base], each), spread(spent for _, spent in found[name])
            own = middle.text(scale=1000) if workers == 0 else ""
            if workers == 0 and name != SCALED and "floats" not in name:
                report.bar(
                    "Photographs of 500 x 375 to 224",
                    "ms of processor an image",
                    name,
                    middle,
                    scale=1000,
                    floor=name == FLOOR,
                )
            yield [name, str(workers), spread(each).text(0), own, ratio.text()]
            if name not in (base, SCALED, FLOOR):
                report.ratio(f"streaming{base.removeprefix(OURS) or ', bytes'}, {workers} workers", name, ratio)


def main() -> None:
    parser = arguments(__doc__, size=224, batch=64, rounds=5)
    parser.add_argument("folder")
    parser.add_argument("--repeats", type=int, default=1, help="times that the files are listed, for a longer epoch")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = ImageFolder(given.folder)
    paths, labels = zip(*folder.samples * given.repeats, strict=True)
    files = FileSplit(np.array(paths), np.array(labels, np.int64))
    size, batch, classes = given.size, given.batch, len(folder.classes)
    ways = {
        OURS: ours(files, size, batch, "full"),
        SCALED: ours(files, size, batch, "scaled"),
        FLOOR: decoding_alone([path for path, _ in folder.samples]),
        "torchvision, Pillow": peer(given.folder, size, batch),
        "torchvision, its own decoder": peer(given.folder, size, batch, tensors=True),
        f"{OURS}, floats": ours_floats(files, size, batch, classes),
        "torchvision, Pillow, floats": peer(given.folder, size, batch, floats=True),
        "torchvision, its own decoder, floats": peer(given.folder, size, batch, tensors=True, floats=True),
    }
    decoder = "simplejpeg" if row_decoder() else "torchvision alone (simplejpeg is not installed)"
    report = Report(
        f"{len(folder.samples):,} photographs to {size} pixels, batches of {batch}, n = {given.rounds} rounds; ours "
        f"decodes with {decoder}, Pillow with libjpeg-turbo {features.version('libjpeg_turbo')}"
    )
    headings = ["batches made by", "workers", "images/s [quartiles]", "ms of processor an image", "ours over it"]
    report.table(headings, rows(ways, given.workers, given.rounds, report))


if __name__ == "__main__":
    main()
