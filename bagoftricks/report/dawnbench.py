"""The measures of DAWNBench (Coleman et al. 2017), from records alone.

Time to accuracy is the time in training until the first evaluation that reaches the target: evaluations, what ran
before the clock (warm-up, compilation) and what an accuracy might have been between two evaluations are left out of it.
A run that does not reach the target has no such time, and none is guessed. Latency is that of one image; the money is
that of a device by the hour, for a training and for 10,000 predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bagoftricks.report.column import Column
from bagoftricks.settings import METRICS, check_measure
from bagoftricks.store.record import Record

PREDICTIONS = 10_000  # of which DAWNBench gives the price
TARGET = 0.94  # of DAWNBench's CIFAR-10 track
HOUR = 3600.0
TIME, TRAIN_COST, INFER_COST = METRICS[1], "train_cost", "infer_cost"


@dataclass(frozen=True)
class Measure:
    """Criterion of runs. ``target``: a share of the validation images, in (0, 1); None: accuracy itself."""

    target: float | None = None
    price_per_hour: float | None = None  # of the device, in any currency

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns that it adds to a table."""
        found = []
        if self.target is not None:
            found.append(Column(TIME, f"s to {100 * self.target:g} %", "{:.1f}".format))
        found.append(Column("latency_ms", "latency ms", "{:.2f}".format))
        if self.price_per_hour is not None:
            what = "training" if self.target is None else f"to {100 * self.target:g} %"
            found.append(Column(TRAIN_COST, f"cost {what}", "{:.4f}".format))
            found.append(Column(INFER_COST, "cost of 10,000 predictions", "{:.6f}".format))
        return tuple(found)

    def __bool__(self) -> bool:
        return self.target is not None or self.price_per_hour is not None


NO_MEASURE = Measure()


def make_measure(metric: str, target: float, price_per_hour: float | None) -> Measure:
    """Return the measure as it is typed: ``metric=time_to_accuracy target=0.94 price_per_hour=2``."""
    check_measure(metric, target, price_per_hour)
    return Measure(target if metric == TIME else None, price_per_hour)


def seconds_to(record: Record, target: float, weights: str = "") -> float | None:
    """Return the seconds in training at the first evaluation with a score of ``target`` or more, None without one.

    ``weights``: the weight set; by default the one that a study reports.
    """
    for point in record.cost.curve:
        if point.weights == (weights or record.reported) and point.score >= 100 * target:
            return point.train_seconds
    return None


def has_curve(record: Record) -> bool:
    """Return True if the record has the times of its accuracies; records of earlier versions have none."""
    return bool(record.cost.curve)


def measure_values(record: Record, measure: Measure, weights: str = "") -> dict[str, float]:
    """Return the values of the measure's own columns that the record has."""
    found: dict[str, float] = {}
    if measure.target is not None:
        seconds = seconds_to(record, measure.target, weights)
        if seconds is not None:
            found[TIME] = seconds
    if measure.price_per_hour is not None:
        seconds = record.cost.train_seconds if measure.target is None else found.get(TIME)
        if seconds is not None:
            found[TRAIN_COST] = seconds / HOUR * measure.price_per_hour
        per_hour = record.cost.infer_images_per_s * HOUR
        found[INFER_COST] = PREDICTIONS / per_hour * measure.price_per_hour
    return found


def reached(records: Sequence[Record], target: float) -> tuple[int, int]:
    """(runs that reach the target, runs whose records can say)."""
    able = [record for record in records if has_curve(record)]
    return sum(seconds_to(record, target) is not None for record in able), len(able)


def notes(records: Sequence[Record], measure: Measure) -> list[str]:
    """Return the notes under a table with these columns."""
    said = []
    if measure.target is not None:
        said.append(
            f"s to {100 * measure.target:g} %: seconds in training, evaluations excluded, at the first evaluation that "
            "reaches it (evaluated at the ends of epochs, so never earlier than that); mean and interval over the runs "
            "that do, with their share of all runs; not reached is not extrapolated"
        )
        warm = [r.cost.warmup_seconds for r in records if r.cost.warmup_seconds]
        if warm:
            said.append(f"before the clock, warm-up and compilation: {min(warm):.1f} to {max(warm):.1f} s a run")
        without = sum(not has_curve(record) for record in records)
        if without:
            said.append(f"{without} runs of an earlier version do not say when they reached what: left out of it")
    if measure.price_per_hour is not None:
        said.append(f"costs at {measure.price_per_hour:g} per device-hour; predictions in fp32 at batch 64")
    return said
