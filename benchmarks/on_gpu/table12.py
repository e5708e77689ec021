"""Step e: inference throughput of the rows of Assembled-CNN's table 12 (docs: batches of 64, no data loading).

The papers' fp32 is without TF32, which PyTorch uses in convolutions unless told otherwise.
"""

from collections.abc import Callable

import torch
from on_gpu.ledger import Work

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
    experiment = load_experiment("assembled/table12", "laptop" if work.dry else "paper")
    for arm in experiment.arms[: 2 if work.dry else None]:
        if work.done(network=arm.label) == len(PRECISIONS):
            continue
        settings = arm_settings(arm, [*experiment.overrides, f"runtime.device={work.device}"], compose_settings)
        checked = check(settings, train=False)
        pixels, classes = test_pixels(settings, checked.recipe), 1000
        model = build_model(settings.model, checked.recipe.parts, num_classes=classes, image_size=settings.pixels)
        model = to_device(model, checked.device, channels_last=True)
        for precision in PRECISIONS:
            if work.done(network=arm.label, precision=precision):
                continue
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
            wrappers = [autocast_of(work.device)] if precision == "bf16" else []
            timing = time_inference(model, pixels, budget_s=0.01 if work.dry else 1.0, wrap_predict=wrappers)
            work.add(**{
                "network": arm.label, "precision": precision, "pixels": f"{pixels}", "images/s": timing.images_per_s,
                "spread": timing.spread, "n": timing.repeats,
            })  # fmt: skip
        del model
    return True


def autocast_of(device: str) -> Callable[[Predict], Predict]:
    """Return the wrapper of a prediction that makes it in bf16."""

    def wrap(predict: Predict) -> Predict:
        def predicted(images: Images) -> Logits:
            with torch.autocast(device, torch.bfloat16):
                return predict(images)

        return predicted

    return wrap
