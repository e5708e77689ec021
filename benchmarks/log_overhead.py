"""What live logging costs a training step.

    OMP_NUM_THREADS=1 python benchmarks/log_overhead.py [--device cuda] [--steps 60] [--loggers tensorboard]

Steps and the work of the log take turns: a step, then what a logged step adds (the norm of the gradient, the row of
steps.csv, the loggers' threads until they have nothing left), then what any other step adds. Printed: medians with
quartiles, and the sum's share of a step with the default log_every=50. On a CPU the clock is the processor time of all
threads, which other work on the machine changes least; on a GPU it is the wall clock between two synchronisations,
which is more than the log costs a run, since a run does not wait for it.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from shared import Report, arguments, spread

from bagoftricks.loggers.base import RunFacts, make_logger
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.run.run_log import RunLog
from bagoftricks.settings import Settings, network_settings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

CLASSES, NEVER = 10, 10**9
CASES = {  # name: (network, pixels, batch)
    "digits": (network_settings(), 8, 32),
    "CIFAR": (network_settings(block="basic", depths=[2, 2, 2]), 32, 128),
    "ResNet-50": (network_settings(depths=[3, 4, 6, 3], width=64), 224, 8),
}


def make_trainer(name: str, device: torch.device, steps: int) -> Trainer:
    """Return a trainer of a case with warm-up, cosine and mixup."""
    spec, pixels, size = CASES[name]
    model = build_model(spec, {}, num_classes=CLASSES, image_size=pixels)
    task = Task(CLASSES, size, pixels)
    recipe = compose({trick: create(trick) for trick in ("warmup", "cosine", "mixup")}, task)
    setup = TrainerSetup(key=Key(0), lr=0.01, weight_decay=1e-4)
    return Trainer(recipe, to_device(model, device, channels_last=True), task, Length(steps, steps), setup)


class Images:
    """Stands for a loader: as many images as the run has, in as many steps."""

    def __init__(self, trainer: Trainer) -> None:
        self.steps, self.images = trainer.length.total_steps, trainer.length.total_steps * trainer.task.batch_size

    def __len__(self) -> int:
        return self.steps


def make_log(trainer: Trainer, loggers: list[str], folder: Path) -> RunLog:
    """Return a log of the trainer, begun."""
    settings = Settings(log_every=1)
    settings.runtime.progress = False
    made = {name: make_logger(name, {"folder": str(folder)} if name == "tensorboard" else {}) for name in loggers}
    log = RunLog(settings, folder, print, lambda: None, made)
    progress = SimpleNamespace(epoch=1, train_seconds=0.0, rows=[])
    training: Any = SimpleNamespace(trainer=trainer, progress=progress, loaders=(Images(trainer), None))
    log.begin(training, RunFacts(id="0" * 20, label="none", group=None, config={}, steps=trainer.length.total_steps))
    return log


def compare(name: str, given: argparse.Namespace) -> list[str]:
    """Return a row about one case."""
    device = torch.device(given.device)
    trainer = make_trainer(name, device, given.steps)
    _, pixels, size = CASES[name]
    images = torch.randn(size, 3, pixels, pixels, device=device).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.eye(CLASSES, device=device)[torch.arange(size) % CLASSES])
    trainer.model.train()
    spent: dict[str, list[float]] = {"step": [], "logged": [], "other": []}
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        synchronise(device)
        start = clock()
        yield
        synchronise(device)
        spent[what].append(clock() - start)

    with tempfile.TemporaryDirectory() as folder, make_log(trainer, given.loggers, Path(folder)) as log:
        for _ in range(given.steps):
            log.every = NEVER
            with timed("step"):
                loss = trainer.step(batch)
            for what, log.every in (("logged", 1), ("other", NEVER)):
                log.training.progress.train_seconds += 1.0
                with timed(what):
                    trainer.steps_done -= 1
                    log._read_norm(trainer.optimizer, (), {})
                    trainer.steps_done += 1
                    log.step(loss)
                    while any(courier.calls.qsize() for courier in log.couriers):
                        time.sleep(0.0005)
    step, logged, other = (values[given.steps // 6 :] for values in spent.values())
    share = (median(logged) / 50 + median(other)) / median(step)
    times = [spread(values).text(3, scale=1000) for values in (step, logged, other)]
    return [f"{name}, batch {size}", str(len(step)), *times, f"{100 * share:.4f} %"]


def main() -> None:
    parser = arguments(__doc__, steps=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loggers", nargs="*", default=["tensorboard"])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    headings = [
        "step",
        "n",
        "ms [quartiles]",
        "more for a logged step",
        "more for any other",
        "share with log_every=50",
    ]
    Report(f"loggers: {', '.join(given.loggers)}", given.device).table(
        headings, (compare(name, given) for name in given.cases)
    )


if __name__ == "__main__":
    main()
