"""The accuracy of a preset after its training time, over several seeds in one process.

    python benchmarks/fast.py DATA                          # preset=fast on CIFAR-10 as train/ and test/ folders
    python benchmarks/fast.py DATA --target 0.84 epochs=5   # with other settings, as bot-train takes them

Wall and CPU seconds are those of the training alone: no decoding, no evaluation, no start of the process. The CPU
seconds are of all threads: on a machine with other work they say what the wall time of a quiet one is made of.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from typing import Any

import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data import find_dataset, keep_decoded
from bagoftricks.report.dawnbench import reported_copy, seconds_to
from bagoftricks.run import epochs as training
from bagoftricks.run.execute import execute


class Quiet:
    """Tells the accuracies on the way, nothing else."""

    def note(self, text: str) -> None: ...

    def begin(self, run_id: str, steps: int, done: int) -> None: ...

    def step(self) -> None: ...

    def epoch(self, row: Any) -> None:
        print(
            f"epoch {row['epoch']}, {row['copy']}: {row['top1']:.2f} % after {row['train_seconds']:.1f} s", flush=True
        )

    def end(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--target", type=float, default=0.8)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_intermixed_args()
    torch.set_num_threads(asked.threads)
    presets = [] if any(s.startswith("preset=") for s in asked.settings) else ["preset=fast"]
    typed = [*presets, "data=imagefolder", f"data.root={asked.root}", "runtime.warmup_steps=3", *asked.settings]
    cpu: list[float] = []
    epoch = training.train_epoch

    def timed(*args: Any) -> float:
        start = time.process_time()
        loss = epoch(*args)
        cpu[-1] += time.process_time() - start
        return loss

    training.train_epoch = timed
    rows = []
    with tempfile.TemporaryDirectory() as store:
        settings = compose_settings([*typed, f"store={store}"])
        data = keep_decoded(find_dataset(settings.data))
        for seed in map(int, asked.seeds.split(",")):
            cpu.append(0.0)
            record = execute(replace(settings, seed=seed), Quiet(), "", data)
            copy = reported_copy(record)
            scores = record.metrics if copy == "last" else record.metrics["copies"][copy]
            reached = seconds_to(record, asked.target)
            rows.append((seed, scores["top1"], record.cost["train_seconds"], cpu[-1], reached))
    where = f"torch {torch.__version__}, {asked.threads} threads, {record.environment['device']}"
    print(f"\n{where}; {' '.join(asked.settings) or 'preset=fast'}")
    print(f"\n| seed | top-1 % | training, wall s | training, CPU s | at {100 * asked.target:g} % after wall s |")
    print("|---|---|---|---|---|")
    for seed, top1, wall, spent, reached in rows:
        print(f"| {seed} | {top1:.2f} | {wall:.1f} | {spent:.1f} | {'not' if reached is None else f'{reached:.1f}'} |")
    medians = [statistics.median(row[i] for row in rows) for i in (1, 2, 3)]
    share = f"{sum(row[4] is not None for row in rows)} of {len(rows)}"
    print(f"| median | {medians[0]:.2f} | {medians[1]:.1f} | {medians[2]:.1f} | {share} |")


if __name__ == "__main__":
    main()
