"""What the composed training step costs over a hand-written loop that does the same arithmetic.

    python benchmarks/step_overhead.py [--device cuda] [--steps 60]

Both loops train their own copy of one network on the same tensors in one process, a step of each in turn, so that a
slow moment of the machine hits both. Printed: the median of the step-by-step time ratios, with its quartiles.
"""

import argparse
import math
import time
from collections.abc import Callable
from statistics import median, quantiles

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.settings import network_settings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

FULL = ("warmup", "no_bias_decay", "zero_gamma", "cosine", "label_smoothing", "mixup")
CASES = {  # name: (network, tricks, pixels, batch)
    "digits, baseline": (network_settings(), (), 8, 32),
    "digits, six tricks": (network_settings(), FULL, 8, 32),
    "CIFAR, baseline": (network_settings(block="basic", depths=[2, 2, 2]), (), 32, 128),
    "CIFAR, six tricks": (network_settings(block="basic", depths=[2, 2, 2]), FULL, 32, 128),
}
CLASSES, LR, DECAY, SMOOTHING, ALPHA = 10, 0.1, 1e-4, 0.1, 0.2


def composed(model: nn.Module, tricks: tuple[str, ...], total_steps: int) -> Callable[[Batch], Tensor]:
    """The package's own step."""
    task = Task(CLASSES, 128, 32)
    recipe = compose({name: create(name) for name in tricks}, task)
    return Trainer(
        recipe, model, task, Length(total_steps, total_steps), TrainerSetup(key=Key(0), lr=LR, weight_decay=DECAY)
    ).step


def by_hand(model: nn.Module, tricks: tuple[str, ...], total_steps: int) -> Callable[[Batch], Tensor]:
    """The same training as one would write it for one experiment."""
    full = bool(tricks)
    if full:
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    else:
        groups = [{"params": list(model.parameters())}]
    optimizer = torch.optim.SGD(groups, LR, momentum=0.9, weight_decay=DECAY, nesterov=True, fused=True)
    warmup, rng, step = round(0.2 * total_steps), np.random.default_rng(0), 0
    model.train()

    def train_step(batch: Batch) -> Tensor:
        nonlocal step
        images, targets = batch.images, batch.targets
        if not full:
            factor = 0.1 ** sum(step / total_steps >= q for q in (0.25, 0.5, 0.75))
        elif step < warmup:
            factor = (step + 1) / warmup
        else:
            factor = (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup))) / 2
        for group in optimizer.param_groups:
            group["lr"] = LR * factor
        if full:
            weight = rng.beta(ALPHA, ALPHA)
            partner = torch.randperm(len(images), device=images.device)
            images = torch.lerp(images[partner], images, weight)
            targets = torch.lerp(targets[partner], targets, weight)
            targets = targets * (1 - SMOOTHING) + SMOOTHING / CLASSES
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        return loss.detach()

    return train_step


def compare(name: str, device: torch.device, steps: int) -> str:
    spec, tricks, pixels, size = CASES[name]
    batch = Batch(
        torch.randn(size, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last),
        torch.eye(CLASSES, device=device)[torch.arange(size) % CLASSES],
    )
    loops = [
        make(
            to_device(build_model(spec, {}, num_classes=CLASSES, image_size=pixels), device, channels_last=True),
            tricks,
            steps,
        )
        for make in (composed, by_hand)
    ]

    def timed(train_step: Callable[[Batch], Tensor]) -> float:
        synchronise(device)
        start = time.perf_counter()
        train_step(batch)
        synchronise(device)
        return time.perf_counter() - start

    ratios, seconds = [], []
    for step in range(steps):
        order = loops if step % 2 else loops[::-1]
        spent = dict(zip(order, [timed(loop) for loop in order], strict=True))
        if step >= steps // 6:  # the first steps warm up
            ratios.append(spent[loops[0]] / spent[loops[1]])
            seconds.append(spent[loops[1]])
    low, _, high = quantiles(ratios, n=4)
    return f"{name:20} {1000 * median(seconds):9.2f} ms  {median(ratios):.4f}  [{low:.4f}, {high:.4f}]  n={len(ratios)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=240)
    given = parser.parse_args()
    print(f"{'case':20} {'by hand':>12}  ratio   quartiles")
    for name in CASES:
        print(compare(name, torch.device(given.device), given.steps), flush=True)


if __name__ == "__main__":
    main()
