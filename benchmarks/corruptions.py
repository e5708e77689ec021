"""What corrupting images costs: ours in batches beside imagecorruptions-imaug image by image.

    OMP_NUM_THREADS=1 python benchmarks/corruptions.py [--images FOLDER] [--batch 16] [--rounds 5] [--size 224]

Each round times every corruption and severity of both, one after the other, on the same photographs (any JPEGs below
FOLDER, centre-cropped; patterns without one), in CPU time so that other processes count little. Printed: the mean over
severities of the medians over the rounds, per image. At sizes up to 64 ours takes the CIFAR constants; the peer has
none. Also printed: a ResNet-50's forward pass on the same images, and the memory that a batch of 64 adds.

The peer is optional: `pip install imagecorruptions-imaug==1.1.5`, best in an environment of its own.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import resnet50

from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions import CORRUPTIONS, EXTRA, SEVERITIES, CorruptionOptions, corrupt

Cell = tuple[str, int]


def photographs(folder: Path | None, count: int, size: int) -> Tensor:
    """``count`` images in bytes; smooth random patterns where no folder is given."""
    if folder is None:
        coarse = torch.rand((count, 3, 9, 9), generator=Key(0).generator())
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
        return (smooth * 255).clamp(0, 255).to(torch.uint8)
    images = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:count]:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), box=(left, top, left + side, top + side))
        images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(images)


def peer() -> Callable[..., object] | None:
    """imagecorruptions' own function, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from imagecorruptions import corrupt as theirs
    except ImportError:
        return None
    return theirs  # type: ignore[no-any-return]


def timed(run: Callable[[], object]) -> float:
    """Milliseconds of CPU time."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def measure(images: Tensor, rounds: int, names: tuple[str, ...], few: int) -> dict[str, dict[Cell, list[float]]]:
    """Milliseconds per image of ours and of the peer in each cell and round; the first round warms up."""
    theirs = peer()
    constants = "cifar" if images.shape[-1] <= 64 else "imagenet"
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images[:few]]
    spent: dict[str, dict[Cell, list[float]]] = {"ours": {}, "peer": {}}
    for turn in range(rounds + 1):
        for cell in ((name, severity) for name in names for severity in SEVERITIES):
            name, severity = cell
            indices = range(len(images))
            took = timed(lambda c=cell, i=indices: corrupt(images, *c, i, CorruptionOptions(constants))) / len(images)
            if turn:
                spent["ours"].setdefault(cell, []).append(took)
            if theirs is None:
                continue
            took = timed(
                lambda n=name, s=severity: [theirs(array, corruption_name=n, severity=s) for array in arrays]
            ) / len(arrays)
            if turn:
                spent["peer"].setdefault(cell, []).append(took)
    return spent


def row(label: str, ours: float, other: float | None, cells: int) -> str:
    compared = f"{other / cells:.3f} | {other / ours:.1f}" if other is not None else "- | -"
    return f"| {label} | {ours / cells:.3f} | {compared} |"


def table(spent: dict[str, dict[Cell, list[float]]], names: tuple[str, ...]) -> None:
    print("| corruption | ours, ms | imaug 1.1.5, ms | imaug / ours |\n|---|--:|--:|--:|")
    totals = []
    for name in names:
        ours, other = (
            sum(median(spent[who][name, severity]) for severity in SEVERITIES) if spent[who] else None
            for who in ("ours", "peer")
        )
        assert ours is not None
        print(row(name, ours, other, len(SEVERITIES)))
        if name in CORRUPTIONS:
            totals.append((ours, other or 0.0))
    ours, other = (sum(column) for column in zip(*totals, strict=True))
    print(row("**all 75 cells of an image**", ours, other if spent["peer"] else None, 1))
    if not spent["peer"]:
        print("\nthe peer is not installed: pip install imagecorruptions-imaug==1.1.5")


def forward(images: Tensor) -> None:
    values = images.float() / 255
    with torch.inference_mode():
        run = partial(resnet50().eval(), values)
        took = median(timed(run) for _ in range(4)) / len(images)
    print(f"\nResNet-50's forward pass: {took:.1f} ms an image, {75 * took:.0f} ms for the 75 cells")


def memory(images: Tensor) -> None:
    """What the corruptions add to the process's peak at batch 64, beyond input and output."""
    batch = images.repeat(-(-64 // len(images)), 1, 1, 1)[:64].contiguous()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in (*CORRUPTIONS, *EXTRA):
        for severity in SEVERITIES:
            corrupt(batch, name, severity, range(64))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\npeak memory that 95 cells add at batch 64: {(after - before) / 1024:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    for option, default in {"batch": 16, "peer-images": 2, "rounds": 5, "size": 224, "threads": 1}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--extra", action="store_true", help="the four extra corruptions too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = photographs(given.images, given.batch, given.size)
    print(f"{len(images)} images of {given.size} pixels, {given.threads} thread(s), medians of {given.rounds} rounds\n")
    if given.size >= 128:
        memory(images)
    names = (*CORRUPTIONS, *EXTRA) if given.extra else CORRUPTIONS
    table(measure(images, given.rounds, names, given.peer_images), names)
    if given.size >= 128:
        forward(images[:4])


if __name__ == "__main__":
    main()
