"""Estimates of the time of runs: from records of like runs, else from a few steps."""

import heapq
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.loading import teacher_online
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import make_trainer
from bagoftricks.settings import Settings
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store
from bagoftricks.study.plan import Plan, PlannedRun, UnnamedRun

STEPS = 4  # timed, after one that warms up
SAMPLE = 64  # images for what is made of training images
MOST_PIXELS = 2**22  # of a batch that is tried on a CPU: more may take minutes, or all memory


@dataclass(frozen=True)
class Estimate:
    """Time of the runs of a plan that are to be trained."""

    seconds: float  # until the last one is finished
    device_seconds: float  # of all devices together
    like_runs: int  # that it is known from; 0: from a few steps here


def estimate(plan: Plan, todo: Sequence[PlannedRun | UnnamedRun], store: Store, slots: int) -> Estimate | None:
    """Return the time of the runs ``todo`` of a plan, ``slots`` at a time; None if it is not known."""
    like = like_records(plan, store)
    each = [*_seconds_of_each(todo, like or _like_but_for_epochs(plan, store))]
    if not each:
        here = next((run for run in todo if isinstance(run, PlannedRun) and _is_quick_here(run, plan)), None)
        if here is None:
            return Estimate(0.0, 0.0, 0) if not todo else None
        one = seconds_from_steps(here)
        each = [one * run.settings.epochs / here.settings.epochs for run in todo]
    devices = [max(1, run.settings.runtime.devices) for run in todo]
    in_all = sum(seconds * count for seconds, count in zip(each, devices, strict=True))
    return Estimate(last_end(each, slots), in_all, len(like))


def last_end(seconds: Sequence[float], slots: int) -> float:
    """Return when the last of these runs ends, if ``slots`` are carried out at a time in their order."""
    free = [0.0] * max(1, slots)
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def _seconds_of_each(todo: Sequence[PlannedRun | UnnamedRun], known: Sequence[Record]) -> Iterator[float]:
    """Yield the time of each run, from the records most like it; nothing without records."""
    times: dict[Hashable, list[float]] = {}
    for record in known:
        kind, seconds = _kind_of(record), record.cost.wall_seconds
        times.setdefault((kind, *sorted(record.tricks)), []).append(seconds)
        times.setdefault(kind, []).append(seconds)
        times.setdefault("per epoch", []).append(seconds / record.epochs)
    medians = {key: median(values) for key, values in times.items()}
    for run in todo if medians else ():
        kind = _kind(run.settings)
        alike = next((key for key in ((kind, *sorted(run.settings.tricks)), kind) if key in medians), None)
        yield medians["per epoch"] * run.settings.epochs if alike is None else medians[alike]


def _is_quick_here(run: PlannedRun, plan: Plan) -> bool:
    """Return True if a few steps of a run can be tried on this machine, and soon."""
    if run.label in plan.lacking:
        return False
    return torch.cuda.is_available() or run.settings.batch_size * run.settings.pixels**2 <= MOST_PIXELS


def seconds_from_records(plan: Plan, store: Store) -> float | None:
    """Return the median wall time of stored runs of one network, data, size, batch and epochs; None without any."""
    known = [record.cost.wall_seconds for record in like_records(plan, store)]
    return median(known) if known else None


def like_records(plan: Plan, store: Store) -> list[Record]:
    """Return the stored runs of the network, data, size, batch and epochs of a plan's runs."""
    wanted = {_kind(run.settings) for run in plan.every_run}
    return [record for record in _records(store) if _kind_of(record) in wanted]


def _like_but_for_epochs(plan: Plan, store: Store) -> list[Record]:
    """Return the stored runs that are like those of a plan, but for the number of epochs."""
    wanted = {_kind(run.settings)[:-1] for run in plan.every_run}
    return [record for record in _records(store) if _kind_of(record)[:-1] in wanted]


def seconds_from_steps(run: PlannedRun) -> float:
    """Return the time of a few training steps on random images, times the steps of the run."""
    settings = run.settings
    prepared = prepare(settings)
    checked, classes = prepared.checked, prepared.num_classes
    size, channels = settings.pixels, settings.data.channels
    steps = len(prepared.data.train.labels) // settings.batch_size

    def grey(count: int) -> Tensor:
        return torch.zeros(min(count, SAMPLE), channels, size, size, device=checked.device)

    trainer = make_trainer(prepared, steps, sample=grey, teacher=teacher_online(prepared))
    rows = settings.batch_size * trainer.recipe.reads
    images = torch.zeros(rows, channels, size, size, device=checked.device)
    uniform = torch.full((rows, classes), 1 / classes, device=checked.device)
    batch = Batch(images, uniform, uniform if trainer.recipe.teacher else None)
    trainer.step(batch)
    synchronise(checked.device)
    start = time.perf_counter()
    for _ in range(STEPS):
        trainer.step(batch)
    synchronise(checked.device)
    return (time.perf_counter() - start) / STEPS * steps * settings.epochs


def _records(store: Store) -> list[Record]:
    try:
        return list(Store(store.root).records())  # what is damaged elsewhere is not the study's
    except UserError:  # no store yet
        return []


LikeKey = tuple[str, ...]  # network, data, where they are, size, batch and, last, epochs


def _kind_of(record: Record) -> LikeKey:
    config = record.config
    data = config.get("data")
    name, root = (data.get("name"), data.get("root")) if isinstance(data, Mapping) else (None, None)
    return _key(record.model.get("name", ""), name, root, *map(config.get, ("image_size", "batch_size", "epochs")))


def _kind(settings: Settings) -> LikeKey:
    data = settings.data
    where = data.name, getattr(data, "root", None)
    return _key(settings.model.name, *where, settings.image_size, settings.batch_size, settings.epochs)


def _key(*values: object) -> LikeKey:
    """Return values of a record, which may be of any type, as texts that can be compared."""
    return tuple(map(repr, values))
