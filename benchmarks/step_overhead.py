"""What the composed training step costs over a hand-written loop that does the same arithmetic.

    python benchmarks/step_overhead.py [--device cuda] [--steps 60]

Both loops train their own copy of one network on the same tensors in one process, a step of each in turn, so that a
slow moment of the machine hits both. Printed: the median of the step-by-step time ratios, with its quartiles.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from shared import Report, Spread, arguments, in_turn, ratios, seconds, spread
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
    "digits_baseline": (network_settings(), (), 8, 32),
    "digits_six_tricks": (network_settings(), FULL, 8, 32),
    "CIFAR_baseline": (network_settings(block="basic", depths=[2, 2, 2]), (), 32, 128),
    "CIFAR_six_tricks": (network_settings(block="basic", depths=[2, 2, 2]), FULL, 32, 128),
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


def compare(name: str, device: torch.device, steps: int) -> tuple[Spread, Spread]:
    """Return the seconds of a step by hand, and what ours takes over it."""
    spec, tricks, pixels, size = CASES[name]
    batch = Batch(
        torch.randn(size, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last),
        torch.eye(CLASSES, device=device)[torch.arange(size) % CLASSES],
    )

    def way(make: Callable[..., Callable[[Batch], Tensor]]) -> Callable[[int], float]:
        model = build_model(spec, {}, num_classes=CLASSES, image_size=pixels)
        step = make(to_device(model, device, channels_last=True), tricks, steps)

        def timed(_: int) -> float:
            synchronise(device)
            return seconds(lambda: (step(batch), synchronise(device)))

        return timed

    warm = steps // 6
    found = in_turn({"ours": way(composed), "by hand": way(by_hand)}, steps - warm, warm=warm)
    return spread(found["by hand"]), ratios(found["ours"], found["by hand"])


def main() -> None:
    parser = arguments(__doc__, steps=240)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    report = Report(f"{torch.get_num_threads()} threads, {given.steps} steps of each in turn", given.device)

    def row(name: str) -> list[object]:
        by_hand, ratio = compare(name, torch.device(given.device), given.steps)
        report.ratio(
            f"step, {name.replace('_', ' ')}",
            "a loop by hand",
            Spread(1 / ratio.high, 1 / ratio.median, 1 / ratio.low, ratio.n),
        )
        return [name, by_hand.text(scale=1000), ratio.text(4), ratio.n]

    report.table(["case", "by hand, ms [quartiles]", "ours over it", "n"], (row(name) for name in given.cases))


if __name__ == "__main__":
    main()
