"""What the augmentation policies cost on the CPU, beside torchvision's v2 transforms of one image at a time.

    python benchmarks/policies.py [--size 32] [--batch 128] [--images 2048] [--rounds 7] [--threads 1]

Each round times every policy on the same images, ours on batches and on single images (as worker processes do) and
torchvision's, one after the other, so that a slow moment of the machine hits all; CPU time, so that other processes
count little. Printed: medians over the rounds.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from shared import Report, arguments, in_turn, ratios, seconds, spread
from torch import Tensor
from torchvision.transforms import v2

from bagoftricks.recipe.edits import MapImages
from bagoftricks.recipe.trick import Task
from bagoftricks.rng import Key
from bagoftricks.tricks.catalogue import create

TORCHVISION: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "autoaugment": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "randaugment": v2.RandAugment,
    "trivialaugment": v2.TrivialAugmentWide,
    "augmix": v2.AugMix,
}
PARAMS = {"autoaugment": {"policy": "cifar10"}}


def ours(name: str, images: Tensor, batch: int) -> Callable[[], None]:
    """Draw and apply the policy, in batches of ``batch``."""
    trick = create(name, **PARAMS.get(name, {}))
    edits = trick.edits(Task(10, batch, 32))
    policy = next(edit for edit in edits if isinstance(edit, MapImages))
    key = Key(0).fold(name)

    def run() -> None:
        for start in range(0, len(images), batch):
            some = images[start : start + batch]
            draws = key.uniform(np.arange(start, start + len(some)), policy.draws)
            policy.apply(some, torch.from_numpy(draws).float())

    return run


def theirs(name: str, images: Tensor) -> Callable[[], None]:
    transform, views = TORCHVISION[name](), 2 if name == "augmix" else 1

    def run() -> None:
        for image in images:
            for _ in range(views):
                transform(image)

    return run


def main() -> None:
    given = arguments(__doc__, size=32, batch=128, images=2048, rounds=7, threads=1).parse_args()
    torch.set_num_threads(given.threads)
    shape = (given.images, 3, given.size, given.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=Key(0).generator())
    few = images[: max(1, given.images // 8)]  # of the slow ones
    report = Report(
        f"images of {given.size} pixels, {given.threads} thread(s), n = {given.rounds} rounds; "
        "augmix makes two mixtures of each"
    )

    def row(name: str) -> list[str]:
        ways = {
            "batches": (ours(name, images, given.batch), images),
            "single": (ours(name, few, 1), few),
            "torchvision": (theirs(name, few), few),
        }
        clocks = {way: lambda _, run=run: seconds(run, time.process_time) for way, (run, _) in ways.items()}
        found = in_turn(clocks, given.rounds)
        each = {way: [took / len(ways[way][1]) for took in found[way]] for way in ways}
        ratio = ratios(each["torchvision"], each["batches"])
        report.ratio(f"policy {name}, 32 pixels", "torchvision v2", ratio)
        return [name, *(f"{1 / spread(took).median:,.0f}" for took in each.values()), ratio.text(1)]

    headings = [f"batches of {given.batch}", "single images", "torchvision v2, single", "batches / torchvision"]
    report.table(["policy, images/s of processor", *headings], (row(name) for name in TORCHVISION))


if __name__ == "__main__":
    main()
