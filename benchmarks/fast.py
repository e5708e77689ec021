"""The accuracy of a preset after its training time, over several seeds in one process.

    python benchmarks/fast.py DATA                          # preset=fast on CIFAR-10 as train/ and test/ folders
    python benchmarks/fast.py DATA --target 0.84 epochs=5   # with other settings, as bot-train takes them

Wall and CPU seconds are those of the training alone: no decoding, no evaluation, no start of the process. The CPU
seconds are of all threads: on a machine with other work they say what the wall time of a quiet one is made of.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from shared import Report, arguments, spread

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data import find_dataset, keep_decoded
from bagoftricks.report.dawnbench import seconds_to
from bagoftricks.run.epochs import Training
from bagoftricks.run.execute import execute
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import Settings


def trained(settings: Settings, seeds: list[int], target: float) -> Iterator[list[float | None]]:
    """Yield the accuracy of each seed in percent, its wall and CPU seconds, and those to the target."""
    data, epoch, cpu = keep_decoded(find_dataset(settings.data)), Training.train_epoch, [0.0]

    def timed(*given: Any) -> float:
        start = time.process_time()
        loss = epoch(*given)
        cpu[0] += time.process_time() - start
        return loss

    Training.train_epoch = timed  # type: ignore[method-assign]
    for seed in seeds:
        cpu[0] = 0.0
        record = execute(replace(settings, seed=seed), SilentReporter(), "", data)
        top1 = record.metrics[record.reported].top1
        yield [top1, record.cost.train_seconds, cpu[0], seconds_to(record, target)]


def main() -> None:
    parser = arguments(__doc__, threads=2)
    parser.add_argument("root")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--target", type=float, default=0.8)
    given = parser.parse_intermixed_args()
    torch.set_num_threads(given.threads)
    presets = [] if any(word.startswith("preset=") for word in given.settings) else ["preset=fast"]
    typed = [*presets, *given.settings]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    report = Report(f"{' '.join(typed)}, {given.threads} threads")
    found: list[list[float | None]] = []

    def rows(settings: Settings) -> Iterator[list[str]]:
        for seed, each in zip(seeds, trained(settings, seeds, given.target), strict=True):
            found.append(each)
            yield [str(seed), *("not" if value is None else f"{value:.2f}" for value in each)]
        reached = [each[3] for each in found if each[3] is not None]
        middle = [spread(values).text() for values in list(zip(*found, strict=True))[:3]]  # type: ignore[arg-type]
        yield ["median", *middle, f"{len(reached)} of {len(found)}"]

    with tempfile.TemporaryDirectory() as store:
        place = ["data=imagefolder", f"data.root={given.root}", "runtime.warmup_steps=3", f"store={store}"]
        target = f"s to {100 * given.target:g} %"
        report.table(
            ["seed", "top-1 %", "training, wall s", "training, CPU s", target],
            rows(compose_settings([*presets, *place, *given.settings])),
        )


if __name__ == "__main__":
    main()
