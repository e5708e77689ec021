"""What the augmentation policies cost on the CPU, beside torchvision's v2 transforms of one image at a time.

    python benchmarks/policies.py [--size 32] [--batch 128] [--images 2048] [--rounds 7] [--threads 1]

Each round times every policy on the same images, ours on batches and on single images (as worker processes do) and
torchvision's, one after the other, so that a slow moment of the machine hits all; CPU time, so that other processes
count little. Printed: medians over the rounds.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in {"size": 32, "batch": 128, "images": 2048, "rounds": 7, "threads": 1}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    shape = (given.images, 3, given.size, given.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=Key(0).generator())
    few = images[: max(1, given.images // 8)]  # of the slow ones
    columns = {
        name: [
            (ours(name, images, given.batch), len(images)),
            (ours(name, few, 1), len(few)),
            (theirs(name, few), len(few)),
        ]
        for name in TORCHVISION
    }
    seconds: dict[str, list[list[float]]] = {name: [[], [], []] for name in columns}
    for turn in range(given.rounds + 1):  # the first one warms up
        for name, runs in columns.items():
            for spent, (run, count) in zip(seconds[name], runs, strict=True):
                start = time.process_time()
                run()
                if turn:
                    spent.append((time.process_time() - start) / count)
    print(
        f"images per second of CPU time at {given.size} x {given.size}, {given.threads} thread(s), "
        f"median of {given.rounds} rounds; augmix makes two mixtures of each image\n"
    )
    print(f"| policy | batches of {given.batch} | single images | torchvision v2, single | batches / torchvision |")
    print("|---|---:|---:|---:|---:|")
    for name, spent_by in seconds.items():
        batched, single, other = (1 / median(spent) for spent in spent_by)
        print(f"| {name} | {batched:,.0f} | {single:,.0f} | {other:,.0f} | {batched / other:.1f} |", flush=True)


if __name__ == "__main__":
    main()
