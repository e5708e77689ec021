"""What a checkpoint every 50 steps costs the training: the laptop preset's network, batch and optimiser.

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--blocks 12] [--every 50] [--device cuda]

Two copies of one run take ``every`` steps in turn, one with a checkpoint after each block and one without, on synthetic
images of CIFAR's size; the writer works on while the block after it is timed, as in a run. Printed: the medians of the
ratios of wall and of processor time, block by block, and the share of the step that copies the state.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import torch

from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.settings import RuntimeSettings, network_settings
from bagoftricks.store.checkpoints import Checkpoints
from bagoftricks.training.state import TrainingState
from bagoftricks.training.trainer import Trainer, TrainerSetup

BATCH, PIXELS, CLASSES = 128, 32, 10
NETWORK = network_settings(name="resnet14_cifar", block="basic", depths=[2, 2, 2])  # conf/model/resnet14_cifar.yaml


def make_trainer(device: torch.device, steps: int) -> Trainer:
    task = Task(CLASSES, BATCH, 32)
    recipe = compose({}, task)  # in fp32, whose steps are the quicker ones on a CPU without bf16 units
    model = build_model(NETWORK, recipe.parts, num_classes=CLASSES, image_size=PIXELS)
    model = to_device(model, device, channels_last=True)
    return Trainer(recipe, model, task, Length(390, steps), TrainerSetup(key=Key(0), lr=0.1, weight_decay=5e-4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, generator=Key(0).generator(device), device=device)
    targets = torch.eye(CLASSES, device=device)[torch.arange(BATCH, device=device) % CLASSES]
    batch = Batch(images.contiguous(memory_format=torch.channels_last), targets)
    kept, plain = (make_trainer(device, given.every * (given.blocks + 1)) for _ in range(2))
    copying: list[float] = []

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), RuntimeSettings(), lambda: None)

        def block(trainer: Trainer) -> tuple[float, float]:
            synchronise(device)
            wall, cpu = time.perf_counter(), time.process_time()
            if trainer is kept:
                state = trainer.state()
                checkpoints.save(trainer.steps_done, TrainingState(state.tensors, {**state.values, "rows": []}))
                copying.append(time.perf_counter() - wall)
            for _ in trainer.epoch(batch for _ in range(given.every)):
                pass
            synchronise(device)
            return time.perf_counter() - wall, time.process_time() - cpu

        for trainer in (kept, plain):
            block(trainer)  # warms up
        spent = [
            {trainer: block(trainer) for trainer in ((kept, plain) if i % 2 else (plain, kept))}
            for i in range(given.blocks)
        ]
        checkpoints.wait()
        size = checkpoints.path(checkpoints.steps()[-1]).stat().st_size
    for i, what in enumerate(("wall", "processor")):
        ratios = [seconds[kept][i] / seconds[plain][i] for seconds in spent]
        low, _, high = quantiles(ratios, n=4)
        step = median(seconds[plain][i] for seconds in spent) / given.every
        about = f"ratio {median(ratios):.4f}  [{low:.4f}, {high:.4f}]  n={len(ratios)}"
        print(f"{what:9} {1000 * step:8.2f} ms a step  {about}")
    print(f"copying {1000 * median(copying):.2f} ms, {size / 2**20:.2f} MiB, every {given.every} steps")


if __name__ == "__main__":
    main()
