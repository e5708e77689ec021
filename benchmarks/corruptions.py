"""What corrupting images costs: ours in batches beside imagecorruptions-imaug image by image.

    OMP_NUM_THREADS=1 python benchmarks/corruptions.py [--images FOLDER] [--batch 16] [--rounds 5] [--size 224]

Each round times every corruption and severity of both, one after the other, on the same photographs (any JPEGs below
FOLDER, centre-cropped; patterns without one), in CPU time so that other processes count little. Printed: medians over
the rounds of the means over the severities, per image. At sizes up to 64 ours takes the CIFAR constants; the peer has
none. Also printed: a ResNet-50's forward pass on the same images, and the memory that a batch of 64 adds.

The peer is optional: `pip install imagecorruptions-imaug==1.1.5`, best in an environment of its own.
"""

import resource
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from shared import Report, arguments, in_turn, ratios, seconds, spread
from torch import Tensor
from torchvision.models import resnet50

from bagoftricks.rng import Key
from bagoftricks.robustness.corruptions import CORRUPTIONS, EXTRA, SEVERITIES, CorruptionOptions, corrupt


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


def measure(images: Tensor, rounds: int, names: tuple[str, ...], few: int) -> dict[str, list[float]]:
    """Milliseconds of processor an image of each corruption, ours and theirs, means over the severities, by round."""
    theirs = peer()
    options = CorruptionOptions("cifar" if images.shape[-1] <= 64 else "imagenet")
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images[:few]]

    def our_way(name: str) -> float:
        took = seconds(
            lambda: [corrupt(images, name, s, range(len(images)), options) for s in SEVERITIES], time.process_time
        )
        return 1000 * took / len(images) / len(SEVERITIES)

    def their_way(name: str) -> float:
        def run() -> None:
            for array, severity in product(arrays, SEVERITIES):
                theirs(array, corruption_name=name, severity=severity)  # type: ignore[misc]

        return 1000 * seconds(run, time.process_time) / len(arrays) / len(SEVERITIES)

    ways = {f"ours {name}": lambda _, name=name: our_way(name) for name in names}
    if theirs is not None:
        ways |= {f"theirs {name}": lambda _, name=name: their_way(name) for name in names}
    return in_turn(ways, rounds)


def rows(found: dict[str, list[float]], names: tuple[str, ...], size: int, report: Report) -> Iterator[list[str]]:
    whole = {}
    for who in ("ours", "theirs"):
        by_name = [found.get(f"{who} {name}", []) for name in names if name in CORRUPTIONS]
        whole[who] = [len(SEVERITIES) * sum(each) for each in zip(*by_name, strict=True)]
    shown = {name: (found[f"ours {name}"], found.get(f"theirs {name}", [])) for name in names}
    for name, (ours, theirs) in (shown | {"**all 75 cells of an image**": (whole["ours"], whole["theirs"])}).items():
        compared = [spread(theirs).text(3), ratios(theirs, ours).text(1)] if theirs else ["not installed", ""]
        yield [name, spread(ours).text(3), *compared]
    if whole["theirs"]:
        found_ratio = ratios(whole["theirs"], whole["ours"])
        report.ratio(f"75 corruptions of an image, {size} pixels", "imagecorruptions-imaug 1.1.5", found_ratio)


def forward(images: Tensor) -> str:
    values = images.float() / 255
    with torch.inference_mode():
        run = partial(resnet50().eval(), values)
        took = 1000 * median(seconds(run, time.process_time) for _ in range(4)) / len(images)
    return f"ResNet-50's forward pass: {took:.1f} ms an image, {75 * took:.0f} ms for the 75 cells"


def memory(images: Tensor) -> str:
    """What the corruptions add to the process's peak at batch 64, beyond input and output."""
    batch = images.repeat(-(-64 // len(images)), 1, 1, 1)[:64].contiguous()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, severity in product((*CORRUPTIONS, *EXTRA), SEVERITIES):
        corrupt(batch, name, severity, range(64))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"peak memory that 95 cells add at batch 64: {(after - before) / 1024:.0f} MiB"


def main() -> None:
    parser = arguments(__doc__, batch=16, peer_images=2, rounds=5, size=224, threads=1)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--extra", action="store_true", help="the four extra corruptions too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = photographs(given.images, given.batch, given.size)
    report = Report(
        f"{len(images)} images of {given.size} pixels, {given.threads} thread(s), n = {given.rounds} rounds"
    )
    if given.size >= 128:
        report.note(memory(images))
        report.note(forward(images[:4]))
    names = (*CORRUPTIONS, *EXTRA) if given.extra else CORRUPTIONS
    found = measure(images, given.rounds, tuple(names), given.peer_images)
    headings = ["corruption", "ours, ms of processor an image", "imaug 1.1.5", "imaug / ours"]
    report.table(headings, rows(found, tuple(names), given.size, report))


if __name__ == "__main__":
    main()
