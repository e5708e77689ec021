"""The cost of a network with its tricks, without training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from bagoftricks.errors import NoEffectError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.quantized import time_int8
from bagoftricks.measure.speed import peak_memory_mib, reset_peak_memory, time_inference
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.run.check import Checked, check, discouraged_pairs
from bagoftricks.run.threads import choose_threads, use_threads
from bagoftricks.settings import Settings
from bagoftricks.store.record import NetworkCost


@dataclass(frozen=True)
class Bench:
    """Cost of a network with the tricks of ``settings``, and a note on those that were left out."""

    cost: NetworkCost
    settings: Settings
    note: str


def measure(settings: Settings, warn: Callable[[str], object]) -> Bench:
    """Count and time a network; a trick without effect is left out and named in the note."""
    checked = check_leniently(settings, warn)
    for warning in discouraged_pairs(checked.settings.tricks):
        warn(warning)
    left_out = [f"{name}: no effect, not measured" for name in settings.tricks if name not in checked.settings.tricks]
    return Bench(network_cost(checked, warn), checked.settings, "; ".join(left_out))


def network_cost(checked: Checked, warn: Callable[[str], object]) -> NetworkCost:
    """``params`` and ``macs``; with ``settings.measure``, throughput at batch 64, latency at batch 1, and memory."""
    settings, recipe = checked.settings, checked.recipe
    pixels = test_pixels(settings, recipe)
    counts = NetworkCost(params=count_params(checked.network), macs=count_macs(checked.network, pixels))
    if not settings.measure:
        return counts
    model = build_model(
        settings.model,
        recipe.parts,
        num_classes=checked.task.num_classes,
        image_size=settings.pixels,
        channels=settings.data.channels,
        task=settings.task,
    )
    use_threads(choose_threads(checked, None, warn))
    channels_last = settings.runtime.channels_last
    model = to_device(model, checked.device, channels_last=channels_last)
    reset_peak_memory(checked.device)
    many = time_inference(model, pixels, channels_last=channels_last, wrap_predict=recipe.wrap_predict)
    one = time_inference(model, pixels, batch=1, channels_last=channels_last, wrap_predict=recipe.wrap_predict)
    if settings.quantize == "int8":
        counts = replace(counts, infer_images_per_s_int8=time_int8(model, pixels).images_per_s)
    return replace(
        counts,
        infer_images_per_s=many.images_per_s,
        infer_spread=many.spread,
        latency_ms=1000 * one.seconds,
        latency_spread=one.spread,
        peak_memory_mib=peak_memory_mib(checked.device),
        device=str(checked.device),
    )


def check_leniently(settings: Settings, warn: Callable[[str], object]) -> Checked:
    """Check the settings; a trick without effect is a warning here, as a cost of nothing is a fact."""
    try:
        return check(settings, train=False)
    except NoEffectError as error:
        warn(f"{error} (bot-train refuses it)")
        others = {name: params for name, params in settings.tricks.items() if name != error.trick}
        return check_leniently(replace(settings, tricks=others), warn)
