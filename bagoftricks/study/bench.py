"""The cost of a network with its tricks, without training."""

from typing import Any

import torch

from bagoftricks.compose import compose
from bagoftricks.evaluate.speed import peak_memory_mib, reset_peak_memory, time_inference
from bagoftricks.models import build_model
from bagoftricks.report.table import label
from bagoftricks.settings import Settings
from bagoftricks.study.run import check
from bagoftricks.trick import Task


def measure(settings: Settings) -> dict[str, Any]:
    """``params`` and ``macs``; with ``settings.measure``, throughput at batch 64, latency at batch 1, and memory."""
    checked = check(settings)
    counts = {"params": checked.params, "macs": checked.macs}
    if not settings.measure:
        return counts if settings.format == "json" else {"label": name(settings), **counts}
    num_classes = settings.num_classes or settings.data.num_classes
    recipe = compose(checked.tricks, Task(num_classes, settings.batch_size, 1, 1))
    model = build_model(settings.model, recipe.parts, num_classes=num_classes, image_size=settings.pixels)
    model = model.to(checked.device)
    channels_last = settings.runtime.channels_last
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reset_peak_memory(checked.device)
    many = time_inference(model, settings.pixels, channels_last=channels_last)
    one = time_inference(model, settings.pixels, batch=1, channels_last=channels_last)
    return {
        "label": name(settings),
        **counts,
        "infer_images_per_s": many.images_per_s,
        "infer_spread": many.spread,
        "latency_ms": 1000 * one.seconds,
        "latency_spread": one.spread,
        "peak_memory_mib": peak_memory_mib(checked.device),
        "image_size": settings.pixels,
        "device": str(checked.device),
    }


def name(settings: Settings) -> str:
    tricks = "" if not settings.tricks else f" + {label(settings.tricks)}"
    return f"{settings.model.name}{tricks} @{settings.pixels}"
