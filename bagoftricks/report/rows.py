"""Rows of tables: typed here, flat objects of numbers and text in JSON and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.record import Cost, NetworkCost, Scores
from bagoftricks.store.robustness import ROBUSTNESS_SCORES, RobustnessResult

FLAT = ("scores", "cost", "measured")  # fields whose own fields are the row's in JSON and CSV


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table."""

    label: str
    facts: Json = field(default_factory=dict)  # settings and machine, which tell rows with one label apart

    def values(self) -> Json:
        """Return the row as a JSON object, whose keys users read."""
        found: Json = {}
        for name, value in to_json(self).items():
            found |= value if name in FLAT else {name: value} if name != "facts" else {}
        return found | (found.pop("others", None) or {})

    def cells(self) -> Json:
        """Return the values by the keys of columns."""
        return {**self.facts, **self.values()}

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the runs that the row is made of."""
        return (run,) if (run := getattr(self, "id", None)) else ()

    def mark(self, key: str) -> str:
        """Return what follows the value in a table that people read."""
        return ""


@dataclass(frozen=True, kw_only=True)
class ScoredRow(Row):
    """Scores of one weight set, also on corrupted images, and the reasons to doubt those."""

    MARK = "†"
    model: str
    data: str
    weights: str
    scores: Scores
    robustness: dict[str, RobustnessResult] = field(default_factory=dict)  # evaluation -> its result
    overlaps: tuple[str, ...] = ()

    def values(self) -> Json:
        flat = {name: result.flat(self.weights) for name, result in self.robustness.items()}
        doubts = {"robustness": flat, "overlaps": list(self.overlaps)} if flat else {}
        return {key: value for key, value in super().values().items() if key not in ("robustness", "overlaps")} | doubts

    def cells(self) -> Json:
        return super().cells() | self.robust_cells()

    def robust_cells(self) -> Json:
        """Return the scores on corrupted images by ``score:evaluation``; those of a single evaluation by score too."""
        found: Json = {}
        for name, result in self.robustness.items():
            scores = result.weights[self.weights]
            for key in (*ROBUSTNESS_SCORES, "relative_mce", *scores.corruptions):
                if (score := scores.score(key)) is not None:
                    found |= {f"{key}:{name}": score} | ({key: score} if len(self.robustness) == 1 else {})
        return found

    def mark(self, key: str) -> str:
        return self.MARK if self.overlaps and ":" in key else ""


@dataclass(frozen=True, kw_only=True)
class RunRow(ScoredRow):
    """One weight set of a finished run. ``measured``: the values of a measure, as the time to an accuracy."""

    id: str
    status: str
    command: str
    reported: bool  # by a study of the run
    epochs: int
    seed: int
    cost: Cost
    shown: str  # label with the preset, if there is one
    preset: str | None
    tricks: Json  # with all hyper-parameters
    settings: Json  # by the keys that users type
    measured: dict[str, float] = field(default_factory=dict)

    def values(self) -> Json:
        return {key: value for key, value in super().values().items() if key != "curve"}

    def cells(self) -> Json:
        cost = {key: value for key, value in vars(self.cost).items() if key not in ("curve", "epoch_seconds")}
        own = {"label": self.label, "shown": self.shown, "tricks": self.label, "preset": self.preset}
        own |= {"id": self.id, "weights": self.weights, "status": self.status}
        return {**self.facts, **cost, **self.scores.values(), **self.measured, **self.robust_cells(), **own}


@dataclass(frozen=True, kw_only=True)
class EvaluatedRow(ScoredRow):
    """Weights of a run or of a file, evaluated on images."""

    id: str | None = None
    image_size: int
    images: int
    params: int
    macs: int
    details: Json = field(default_factory=dict)  # by class, confidence and image, where they were asked for

    def values(self) -> Json:
        return {name: value for name, value in super().values().items() if name != "details" or value}


@dataclass(frozen=True, kw_only=True)
class CostRow(Row):
    """Costs of a network, next to those that a paper gives."""

    image_size: int
    cost: NetworkCost
    published: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # about tricks that were not measured

    def values(self) -> Json:
        found = {key: value for key, value in super().values().items() if key != "published" and value != ""}
        return found | {f"{key}_published": number for key, number in self.published.items()}
