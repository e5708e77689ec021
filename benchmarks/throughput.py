"""Inference images/s and multiply-accumulates/s of the rows of Assembled-CNN's table 12, fp32 and bf16 in turn.

    python benchmarks/throughput.py [--device cuda] [--batch 8] [--rounds 5] [--rows 14] [--threads 2]

Networks have random weights and the size that the paper evaluates them at. Passes of both precisions take turns, so a
slow moment hits both. The paper's images/s are of a P40 in fp32 at batch 64: compare ratios to the first
row alone.
"""

from collections.abc import Iterator

import torch
from on_gpu.table12 import Network, autocast_of, networks
from shared import Report, Spread, arguments, in_turn, ratios, seconds, spread

from bagoftricks.measure.complexity import count_macs
from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.edits import Predict


def timed(network: Network, device: str, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a batch at each precision, round by round."""
    images = torch.randn(batch, 3, network.pixels, network.pixels, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    model = network.model.eval()

    def once(predict: Predict) -> float:
        with torch.inference_mode():
            synchronise(images.device)
            return seconds(lambda: (predict(images), synchronise(images.device)))

    ways = {"fp32": model, "bf16": autocast_of(device)(model)}
    return in_turn({name: lambda _, way=way: once(way) for name, way in ways.items()}, rounds)


def rows(report: Report, device: str, batch: int, rounds: int, number: int, scale: str) -> Iterator[list[str]]:
    """Yield a row for each network."""
    first: dict[str, float] = {}
    for network in networks(device, scale, number):
        macs = count_macs(network.model, network.pixels)
        found = timed(network, device, batch, rounds)
        speeds: dict[str, Spread] = {name: spread(batch / value for value in taken) for name, taken in found.items()}
        gain = ratios(found["fp32"], found["bf16"])
        published = network.published["infer_images_per_s"]
        now = {"paper": published, **{name: speed.median for name, speed in speeds.items()}}
        first = first or now
        yield [
            network.label, f"{network.pixels}", f"{macs / 1e9:.2f}", *(speed.text() for speed in speeds.values()),
            gain.text(), *(f"{macs * speed.median / 1e9:,.0f}" for speed in speeds.values()),
            *(f"{now[name] / first[name]:.2f}" for name in ("fp32", "bf16", "paper")),
        ]  # fmt: skip
        for name, speed in speeds.items():
            report.bar("inference of table 12's networks", "images/s", f"{network.label}, {name}", speed)


def main() -> None:
    parser = arguments(__doc__, batch=8, rounds=5, rows=14, threads=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scale", choices=("paper", "laptop"), default="paper")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report = Report(f"batches of {given.batch}, {given.threads} threads, n = {given.rounds}", given.device)
    headings = ["network", "pixels", "GMACs", "images/s fp32", "images/s bf16", "bf16 over fp32", "GMACs/s fp32",
                "GMACs/s bf16", "fp32 over R50", "bf16 over R50", "paper over R50"]  # fmt: skip
    report.table(headings, rows(report, given.device, given.batch, given.rounds, given.rows, given.scale))


if __name__ == "__main__":
    main()
