"""Images a second of training by a CPU preset, next to airbench94's own code (Jordan 2024) with the same widths.

    python benchmarks/airbench_cpu.py AIRBENCH/airbench94_muon.py DATA [--threads 2] [OVERRIDE ...]

DATA has train/<class>/*.jpg of CIFAR-10. airbench's file (revision f1c599c of its repository) is read, not run: its
network, loader and optimiser are taken with the widths, the batch size and the image sizes of the preset, in fp32 or
under autocast as the preset computes; without torch.compile, which loses on a CPU. Both take the same number of steps
at each image size in turn; a run's images/s follow from the shares that its schedule gives to the sizes.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from shared import Report, arguments, in_turn, ratios, seconds, spread
from torch import Tensor

from bagoftricks.cli.compose import compose_settings
from bagoftricks.distributed import ALONE
from bagoftricks.run.heap import keep_freed_memory
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import Prepared, prepare
from bagoftricks.run.start import make_trainer

PORTED = [
    (r"with open\(sys.argv\[0\]\) as f:\n    code = f.read\(\)\n", ""),
    (r"@torch.compile\n", ""),
    (r'torch.device\("cuda"\)', 'torch.device("cpu")'),
    (r"\.half\(\)", ".float()"),
    (r"nn.MaxPool2d\(3\)", "nn.AdaptiveMaxPool2d(1)"),  # the same at 32 pixels
]


def airbench(script: Path, widths: list[int]) -> dict[str, Any]:
    """Return the names of airbench's file, for a CPU and with these widths."""
    source = script.read_text(encoding="utf-8")
    chosen = ", ".join(f"block{i}={width}" for i, width in enumerate(widths, 1))
    for pattern, to in [*PORTED, (r"widths = dict\(.*?\)", f"widths = dict({chosen})")]:
        source, count = re.subn(pattern, to, source)
        assert count, f"{script}: has no {pattern}"
    names: dict[str, Any] = {"__name__": "airbench"}
    exec(compile(source, str(script), "exec"), names)
    return names


class Airbench:
    """Training by airbench's parts, with the parameter groups of its main function."""

    def __init__(self, names: dict[str, Any], images: Tensor, labels: Tensor, batch: int) -> None:
        self.loader = object.__new__(names["CifarLoader"])
        vars(self.loader).update(
            images=(images.float() / 255).contiguous(memory_format=torch.channels_last), labels=labels, epoch=0,
            normalize=names["T"].Normalize(names["CIFAR_MEAN"], names["CIFAR_STD"]), proc_images={},
            aug={"flip": True, "translate": 2}, batch_size=batch, drop_last=True, shuffle=True,
        )  # fmt: skip
        self.model = names["CifarNet"]().to(memory_format=torch.channels_last)
        self.model.reset()
        self.model.init_whiten(self.loader.normalize(self.loader.images[:5000]))
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        biases = [p for name, p in named if "norm" in name]
        groups = [{"params": [self.model.whiten.bias]}, {"params": biases}, {"params": [self.model.head.weight]}]
        sgd = torch.optim.SGD(groups, lr=1e-3, weight_decay=1e-3, momentum=0.85, nesterov=True, fused=True)
        kernels = [p for _, p in named if p.ndim == 4]
        self.optimizers = [sgd, names["Muon"](kernels, lr=1e-3, momentum=0.6, nesterov=True)]
        self.begin_epoch()  # the first one prepares more than the others

    def begin_epoch(self) -> None:
        """Crop and flip all images, as its loader does before the first batch of an epoch."""
        self.batches: Iterator[tuple[Tensor, Tensor]] = iter(self.loader)
        next(self.batches)

    def step(self, side: int, precision: AbstractContextManager[Any], early: bool) -> None:
        images, labels = next(self.batches)  # of the same epoch: a round has fewer steps than an epoch
        if side != images.shape[-1]:
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        with precision:
            logits = self.model(images, whiten_bias_grad=early)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.2, reduction="sum").backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)


class Ours:
    """Training of the preset, which goes to the place in its run where the images have a size."""

    def __init__(self, prepared: Prepared) -> None:
        self.train, _ = loaders(prepared, None, ALONE)
        self.trainer = make_trainer(prepared, len(self.train), sample=self.train.sample)
        self.trainer.model.train()
        self.batches = (batch for epoch in range(10**6) for batch in self.train.epoch(epoch))

    def sizes(self) -> dict[int, list[int]]:
        """Return the steps of a run by the size of their images."""
        progressive = self.trainer.recipe.map_batch
        total, found = self.trainer.length.total_steps, dict[int, list[int]]()
        image = next(self.batches)
        for step in range(total):
            self.trainer.task.clock.set(step)
            batch = image[torch.arange(1)]
            for _, apply in progressive:
                batch = apply(batch, self.trainer.key)
            found.setdefault(batch.images.shape[-1], []).append(step)
        return found

    def step(self, at: int) -> None:
        self.trainer.steps_done = at
        self.trainer.step(next(self.batches))


def main() -> None:
    parser = arguments(__doc__, threads=2, rounds=5, steps=10)
    parser.add_argument("airbench", type=Path)
    parser.add_argument("data")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds: for a busy machine, on one thread")
    given = parser.parse_intermixed_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    preset = [] if any(o.startswith("preset=") for o in given.overrides) else ["preset=fast"]
    typed = [*preset, "data=imagefolder", f"data.root={given.data}", *given.overrides]
    settings = compose_settings(typed)
    widths: list[int] = settings.model.widths  # type: ignore[attr-defined]
    prepared = prepare(settings)
    ours = Ours(prepared)
    theirs = Airbench(airbench(given.airbench, widths[1:]), ours.train.pixels, ours.train.labels, settings.batch_size)
    precision = prepared.recipe.precision
    arithmetic = str(precision.dtype) if precision else "fp32"
    sizes = ours.sizes()
    total = sum(map(len, sizes.values()))

    def images_per_s(step: Callable[[int, list[int]], object], before: float = 0.0) -> float:
        """Return the images a second of a run, from some steps at each size of the images."""
        took = before
        for side, steps in sizes.items():
            took += (
                seconds(lambda s=side, at=steps: [step(s, at) for _ in range(given.steps)], clock)
                * len(steps)
                / given.steps
            )
        return total * settings.batch_size / took

    def by_airbench(_: int) -> float:
        prepared_all = settings.epochs * seconds(theirs.begin_epoch, clock)
        computed = torch.autocast("cpu", precision.dtype) if precision else nullcontext()
        return images_per_s(lambda side, at: theirs.step(side, computed, at[0] < 3 / 8 * total), prepared_all)

    found = in_turn(
        {"this package": lambda _: images_per_s(lambda side, at: ours.step(at[0])), "airbench": by_airbench},
        given.rounds,
    )
    images = f"images of {', '.join(map(str, sizes))} pixels"
    report = Report(f"{' '.join(preset + given.overrides)}: {widths}, {arithmetic}, {images}, {given.threads} threads")
    mine = found["this package"]
    over = {name: ratios(mine, each) for name, each in found.items()}
    report.table(
        ["trained by", "images/s", "ours over it"],
        [[name, spread(each).text(0), over[name].text()] for name, each in found.items()],
    )
    report.ratio(f"training, fast preset, {arithmetic.removeprefix('torch.')}", "airbench", over["airbench"])


if __name__ == "__main__":
    main()
