"""What a checkpoint every 50 steps costs the training: the laptop preset's network, batch and optimiser.

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--blocks 12] [--every 50] [--device cuda]

Two copies of one run take ``every`` steps in turn, one with a checkpoint after each block and one without, on synthetic
images of CIFAR's size; the writer works on while the block after it is timed, as in a run. Printed: the medians of the
ratios of wall and of processor time, block by block, and the share of the step that copies the state.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from shared import Report, arguments, in_turn, ratios, spread

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
    parser = arguments(__doc__, blocks=12, every=50)
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

        ways = {"kept": lambda _: block(kept), "plain": lambda _: block(plain)}
        spent = in_turn(ways, given.blocks)
        checkpoints.wait()
        size = checkpoints.path(checkpoints.steps()[-1]).stat().st_size
    copy = f"copying {1000 * median(copying):.2f} ms, {size / 2**20:.2f} MiB, every {given.every} steps"
    report = Report(f"{copy}; blocks of so many steps in turn, n = {given.blocks}", given.device)
    rows = []
    for i, what in enumerate(("wall", "of all threads of the processor")):
        with_them, without = ([each[i] for each in spent[name]] for name in ways)
        rows.append([what, spread(without).text(scale=1000 / given.every), ratios(with_them, without).text(3)])
    report.table(["time", "ms a step [quartiles]", "with checkpoints over without"], rows)
    report.ratio("training with a checkpoint every 50 steps", "none", ratios(without, with_them))


if __name__ == "__main__":
    main()
