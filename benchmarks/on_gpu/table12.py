"""Step e: inference throughput of the rows of Assembled-CNN's table 12 (docs: batches of 64, no data loading).

The papers' fp32 is without TF32, which PyTorch uses in convolutions unless told otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from on_gpu.ledger import Work
from torch import nn

from bagoftricks.cli.compose import compose_settings
from bagoftricks.measure.speed import time_inference
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.edits import Images, Logits, Predict
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.run.check import check
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.overrides import arm_settings

PRECISIONS = ("fp32", "TF32", "bf16")


def measure(work: Work) -> bool:
    """Time every row at each precision; return True when there is none left."""
    for network in networks(
        work.device, "laptop" if work.dry else "paper", 2 if work.dry else None, skip=work_done(work)
    ):
        for precision in PRECISIONS:
            if work.done(network=network.label, precision=precision):
                continue
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
            wrappers = [autocast_of(work.device)] if precision == "bf16" else []
            budget = 0.01 if work.dry else 1.0
            timing = time_inference(network.model, network.pixels, budget_s=budget, wrap_predict=wrappers)
            work.add(**{
                "network": network.label, "precision": precision, "pixels": f"{network.pixels}",
                "images/s": timing.images_per_s, "spread": timing.spread, "n": timing.repeats,
            })  # fmt: skip
    return True


def work_done(work: Work) -> Callable[[str], bool]:
    """Return a function that tells whether all precisions of a row are timed."""
    return lambda label: work.done(network=label) == len(PRECISIONS)


class Network(NamedTuple):
    """A row of table 12, built."""

    label: str
    model: nn.Module
    pixels: int
    published: Mapping[str, float]


def networks(
    device: str, scale: str, rows: int | None = None, skip: Callable[[str], bool] = lambda label: False
) -> Iterator[Network]:
    """Yield the networks of the first rows, one at a time, but for those to skip."""
    experiment = load_experiment("assembled/table12", scale)
    for arm in experiment.arms[:rows]:
        if skip(arm.label):
            continue
        settings = arm_settings(arm, [*experiment.overrides, f"runtime.device={device}"], compose_settings)
        checked = check(settings, train=False)
        model = build_model(settings.model, checked.recipe.parts, num_classes=1000, image_size=settings.pixels)
        model = to_device(model, checked.device, channels_last=True)
        yield Network(arm.label, model, test_pixels(settings, checked.recipe), arm.published)


def autocast_of(device: str) -> Callable[[Predict], Predict]:
    """Return the wrapper of a prediction that makes it in bf16."""

    def wrap(predict: Predict) -> Predict:
        def predicted(images: Images) -> Logits:
            with torch.autocast(device, torch.bfloat16):
                return predict(images)

        return predicted

    return wrap
