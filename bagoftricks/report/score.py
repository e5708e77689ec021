"""Scores and costs that the arms of a study are compared in, each with its unit and its better end."""

from collections.abc import Iterable
from dataclasses import dataclass

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import score_names
from bagoftricks.report.dawnbench import INFER_COST, TIME, Measure
from bagoftricks.report.study_robustness import ROBUSTNESS
from bagoftricks.statistics.paired import RESOLVE
from bagoftricks.store.record import Record

TOP1 = "top1"
OF_PREDICTIONS = ("infer_images_per_s", "infer_spread", "latency_ms", INFER_COST)  # measured once for each arm


@dataclass(frozen=True)
class Score:
    """A score or cost by its key in the records; differences of percentages are in points."""

    key: str
    name: str
    unit: str = "points"
    higher_is_better: bool = True
    resolve: float = RESOLVE  # the difference that matters, unless the user says which does

    @property
    def of_differences(self) -> str:
        """Return the unit of differences with the score's name: top-1 points."""
        return f"{self.name} points" if self.unit == "points" else f"{self.unit} of {self.name}"


SCORES_BY_KEY = {
    score.key: score
    for score in [
        Score(TOP1, "top-1"),
        Score("top5", "top-5"),
        Score("soft_top1", "soft top-1"),
        Score("loss", "cross entropy", "nats", higher_is_better=False, resolve=0.01),
        Score("ece", "calibration error", higher_is_better=False),
        *(Score(key, column.heading.removesuffix(" %"), "points", False) for key, column in ROBUSTNESS.items()),
        Score("train_images_per_s", "training speed", "images/s", resolve=1.0),
        Score("infer_images_per_s", "inference speed", "images/s", resolve=1.0),
        Score("latency_ms", "latency", "ms", higher_is_better=False, resolve=0.1),
        Score("train_seconds", "training time", "s", higher_is_better=False, resolve=1.0),
        Score("peak_memory_mib", "peak memory", "MiB", higher_is_better=False, resolve=1.0),
    ]
}


def scores_by_key() -> dict[str, Score]:
    """Return everything that runs can be compared in, the scores of all tasks included."""
    of_tasks = {key: Score(key, name) for key, name in score_names().items() if key not in SCORES_BY_KEY}
    return {**SCORES_BY_KEY, **of_tasks}


def check_score(key: str) -> None:
    """Raise UserError unless runs can be compared in what ``key`` names."""
    known = scores_by_key()
    if key not in known:
        near = did_you_mean(key, known)
        raise UserError(f"score={key}: runs are not compared in that{near} (one of {', '.join(known)})")


def score_of(key: str, measure: Measure, first: str = TOP1) -> Score:
    """Return the score of a key; without one, the task's ``first``, or the time to the measure's accuracy."""
    if key:
        return scores_by_key()[key]
    if measure.target is None:
        return scores_by_key()[first]
    name = f"time to {100 * measure.target:g} % {scores_by_key()[first].name}"
    return Score(TIME, name, "s", higher_is_better=False, resolve=1.0)


def measurements(records: Iterable[Record], key: str) -> list[Record]:
    """Return the records of different measurements of what ``key`` names: the seeds of an arm may share one."""
    records = list(records)
    if key not in OF_PREDICTIONS:
        return records
    own = [record for record in records if record.cost.measured_by is None]
    others = {r.cost.measured_by: r for r in records if r.cost.measured_by not in {None, *(r.id for r in own)}}
    return [*own, *others.values()]
