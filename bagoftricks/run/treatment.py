"""Treatment of the images of a run by its settings and tricks, in words."""

from bagoftricks.data import Dataset
from bagoftricks.data.augment import Augment
from bagoftricks.data.memory import prepared_whole
from bagoftricks.data.sources import MemorySplit
from bagoftricks.data.stream import worker_count
from bagoftricks.data.transforms import validation_side
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.rng import Key
from bagoftricks.run.check import Checked
from bagoftricks.settings import DataSettings, Settings


def training_augment(settings: Settings, recipe: Recipe) -> Augment:
    """Return the preparation of the run's training images."""
    flips, whole = recipe.flip[1] if recipe.flip else None, settings.task.targets == "boxes"
    key = Key(settings.seed)
    return Augment.from_settings(settings.data, settings.pixels, key, recipe.map_images, flips, whole=whole)


def validation_augment(settings: Settings, recipe: Recipe) -> Augment:
    """Return the preparation of the run's validation images."""
    short_side = recipe.test_size.short_side if recipe.test_size else None
    whole = settings.task.targets == "boxes"
    return Augment.plain(settings.data, test_pixels(settings, recipe), short_side, whole=whole)


def treatment(checked: Checked, data: Dataset, broken: int = 0) -> dict[str, str]:
    """Return what happens to the images, a line for each step; ``broken`` training images cannot be read."""
    settings, recipe, count = checked.settings, checked.recipe, len(data.train.labels)
    augment, val = training_augment(settings, recipe), validation_augment(settings, recipe)
    if settings.data.on_error == "skip" and prepared_whole(augment, count):  # in a stream, batches are smaller instead
        count -= broken
    return {
        "training crop": _crop(augment),
        "flip": ("half of the images" if recipe.flip is None else recipe.flip[0]) if augment.flip else "none",
        "colours": _colours(augment),
        "batches": ", ".join(name for name, _ in recipe.map_batch) or "as they are",
        "validation": _whole(val) if shown_whole(val) else f"{_whole(val)}, centre of {val.size}",
        "values": _values(settings.data),
        "split": _split(settings.data, data),
        "decoding": _decoding(settings, augment, data),
        "epoch": "; ".join(
            [_epoch(count, settings.batch_size), *(edit[0] for edit in (recipe.sampling, recipe.repeats) if edit)]
        ),
    }


def _values(data: DataSettings) -> str:
    mean, std = data.normalisation()
    return f"{'luma, ' if data.channels == 1 else ''}minus {_listed(mean)}, over {_listed(std)}"


def _whole(augment: Augment) -> str:
    if augment.whole:
        return f"longer side to {augment.size}, the rest black"
    side = augment.fitted_side()
    return f"both sides to {side}, whatever the shape" if augment.crop == "stretch" else f"short side to {side}"


def shown_whole(augment: Augment) -> bool:
    """Return True if nothing of an image is cut off."""
    return augment.whole or (augment.crop == "stretch" and augment.fitted_side() == augment.size)


def _crop(augment: Augment) -> str:
    size = augment.size
    if augment.crop == "area" and not augment.whole:
        low, high = augment.area
        return f"{100 * low:g} to {100 * high:g} % of the area at random, to {size} x {size}"
    if augment.crop == "stretch":
        return f"{_whole(augment)}; half of the time to {validation_side(size)}, {size} x {size} at random"
    cut = _whole(augment) if augment.whole else f"{_whole(augment)}, centre of {size}"
    if not augment.pad:
        return cut
    return f"{cut}, padded by {augment.pad} ({'mirrored' if augment.reflect else 'zeros'}), {size} x {size} at random"


def _colours(augment: Augment) -> str:
    steps = [] if augment.jitter == "none" else [f"jitter {augment.jitter} of {augment.jitter_strength:g}"]
    steps += [f"PCA noise of {augment.pca:g}"] if augment.pca else []
    steps += [augment.policy[0]] if augment.policy else []
    return ", ".join(steps) or "as they are"


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _split(settings: DataSettings, data: Dataset) -> str:
    parts = [f"{100 * settings.holdout:g} % of the training images held out"] if settings.holdout else []
    parts += [] if settings.limit is None else [f"at most {settings.limit:,} images of each split"]
    return ", ".join(parts) or "all images of both splits"


def _decoding(settings: Settings, augment: Augment, data: Dataset) -> str:
    count, size = len(data.train.labels), augment.size
    if isinstance(data.train, MemorySplit):
        return "none: the images are in memory"
    if prepared_whole(augment, count):
        kept = "once for all runs (data.cache)" if settings.data.cache != "none" else "at the start of each run"
        return f"{kept}, then {3 * size**2 * count / 2**20:,.0f} MiB in memory"
    kept = f", kept (data.cache={settings.data.cache})" if settings.data.cache in ("ram", "disk") else ""
    return f"in every epoch by {worker_count(settings.runtime.workers)} processes, {settings.data.decode}{kept}"


def _epoch(count: int, batch: int) -> str:
    steps, rest = divmod(count, batch)
    left = f"; {rest:,} images sit out, others each time" if rest and steps else ""
    return f"{steps:,} steps of {batch:,} images{left}"
