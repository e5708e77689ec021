"""Record of a finished run. Units are in the names; accuracies are in percent; MACs are what papers call FLOPs."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import quantiles

from bagoftricks.errors import DamagedRecord, UserError
from bagoftricks.plugins import loaded_digests, loaded_plugins
from bagoftricks.registry import Values, score_names
from bagoftricks.settings import DataSettings, Settings
from bagoftricks.store.files import note_once, read_file
from bagoftricks.store.json_fields import SEAL, Json, from_json, parse_json, sealed_text, to_json, unsealed
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.weight_sets import LAST, averages, reported

RECORD_FORMAT = 4  # raise it when an older version could misread a newer record
RENAMED = {"mixup": {"off": "unmixed_end"}}  # hyper-parameters of records of format 1
RECORD_BYTES = 2**26  # more is no record
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # a half of a character, as JSON writes it
OF_RESULTS = {"copies": "weights"}  # fields of earlier evaluations on corrupted images


@dataclass(frozen=True)
class Scores:
    """Scores of one weight set on the validation images; None if not measured, or not finite."""

    top1: float | None
    top5: float | None
    loss: float | None
    ece: float | None = None  # expected calibration error, in percent
    soft_top1: float | None = None  # in percent; None in earlier records
    others: dict[str, float | None] | None = None  # those of another task than classification, by their keys

    def get(self, key: str) -> float:
        """Return a score by its key, not a number if it was not measured or is not finite."""
        value = self.values().get(key)
        return math.nan if value is None else value

    def values(self) -> dict[str, float | None]:
        """Return all scores that were measured by their keys."""
        if self.others is not None:
            return self.others
        return {f.name: getattr(self, f.name) for f in fields(Scores)[:-1]}


def scores_of(measured: Mapping[str, float]) -> Scores:
    """Return measured scores for a record, in which every number is finite."""
    found = {name: value if math.isfinite(value) else None for name, value in measured.items()}
    own = {f.name for f in fields(Scores)}
    others = {name: value for name, value in found.items() if name not in own}
    known = {name: value for name, value in found.items() if name in own}
    return Scores(**{**dict.fromkeys(("top1", "top5", "loss")), **known}, others=others or None)


@dataclass(frozen=True)
class CurvePoint:
    """The task's first score of one weight set after an epoch, at its seconds of training."""

    epoch: int
    steps: int
    weights: str
    train_seconds: float
    score: float  # top-1, unless the task has another one


@dataclass(frozen=True, kw_only=True)
class Quartiles:
    """Distribution of a few measured values."""

    count: int
    min: float
    q1: float
    median: float
    q3: float
    max: float


def quartiles(values: Sequence[float]) -> Quartiles | None:
    """Return the distribution of values, None without any."""
    if not values:
        return None
    q1, median, q3 = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Quartiles(count=len(values), min=min(values), q1=q1, median=median, q3=q3, max=max(values))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Costs of the network, of its training and of its predictions."""

    params: int
    macs: int
    train_images_per_s: float
    infer_images_per_s: float
    infer_spread: float
    latency_ms: float
    measured_by: str | None = None  # run of the same arm that measured the predictions; None: this one
    peak_memory_mib: float
    train_seconds: float
    epoch_seconds: Quartiles | None = None  # of training, without the evaluation; None in earlier records
    curve: tuple[CurvePoint, ...] = ()  # empty in records of the first versions
    warmup_seconds: float | None = None
    compile_seconds: float | None = None
    teacher_seconds: float | None = None  # for its logits of all training images
    teacher_params: int | None = None
    teacher_macs: int | None = None
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """Costs of a network; those that take a measurement are None without one. Throughput at batch 64."""

    params: int
    macs: int
    infer_images_per_s: float | None = None
    infer_spread: float | None = None
    infer_images_per_s_int8: float | None = None  # in 8-bit integers, on the CPU
    latency_ms: float | None = None  # of one image
    latency_spread: float | None = None
    peak_memory_mib: float | None = None
    device: str | None = None


@dataclass(frozen=True)
class TeacherFacts:
    """Teacher of a run: its source as it was typed, its digest, and its run if it has one."""

    source: str
    digest: str
    run: str | None


@dataclass(frozen=True)
class ParentFacts:
    """Finished run that a run goes on from: exactly, from its kept state, or from its last weights."""

    id: str
    epochs: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Data set of a run. Records of format 1 have neither the names nor the counts of the classes."""

    name: str
    train_images: int
    val_images: int
    classes: int
    digest: str
    image_size: int | None = None  # side of the training images, in pixels
    skipped: tuple[str, ...] = ()  # images that could not be read
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()  # training images of each class
    teacher: TeacherFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Machine, versions and processes that a run was carried out with."""

    device: str
    cores: int | None
    threads: int
    python: str
    bagoftricks: str
    torch: str
    torchvision: str
    numpy: str
    git_revision: str | None = None
    git_dirty: bool | None = None
    date: str | None = None  # of the record, in UTC, as ISO 8601
    host: str | None = None
    user: str | None = None
    devices: int = 1
    continuations: int = 0  # times that the run was resumed
    micro_batches: tuple[tuple[int, ...], ...] | None = None  # (steps done, images at a time after them)


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """Task of a run, if it is not classification; ``first`` is the key of the score in which runs are compared."""

    name: str
    first: str
    outputs: int  # of the network
    settings: Json


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record of a run: its identity, its metrics by weight set, its costs, and how to repeat it."""

    id: str
    status: str
    tricks: dict[str, Json]
    data: DataFacts
    model: Json
    seed: int
    epochs: int
    metrics: dict[str, Scores]  # by weight set
    cost: Cost
    environment: Environment
    command: str
    config: Json
    plugins: dict[str, str] = field(default_factory=dict)  # plug-in -> digest of its source
    files: dict[str, str] = field(default_factory=dict)  # file next to the record -> its SHA-256
    robustness: dict[str, RobustnessResult] = field(default_factory=dict)  # protocol with its changes -> result
    parent: ParentFacts | None = None
    task: TaskFacts | None = None  # None: classification
    format: int = RECORD_FORMAT

    def evaluation(self, name: str) -> RobustnessResult | None:
        """Return the result of that name on corrupted images, None without one of every weight set."""
        result = self.robustness.get(name)
        return result if result and result.weights.keys() >= self.metrics.keys() else None

    @property
    def first(self) -> str:
        """Key of the score in which runs of this task are compared."""
        return self.task.first if self.task else "top1"

    @property
    def outputs(self) -> int:
        """Classes that the network tells apart."""
        return self.task.outputs if self.task else self.data.classes

    def score(self, weights: str | None = None) -> float:
        """Return the first score of a weight set, by default that of a study; not a number if it is not finite."""
        return self.metrics[weights or self.reported].get(self.first)

    def score_text(self) -> str:
        """Return the first score in words, as ``top-1 84.20 %``."""
        return f"{score_names().get(self.first, self.first)} {self.score():.2f} %"

    @property
    def averages(self) -> list[str]:
        """Names of the averaged weight sets."""
        return averages(self.metrics)

    @property
    def reported(self) -> str:
        """Name of the weight set that a study reports."""
        return reported(self.metrics)


def settings_of(record: Record) -> Settings:
    """Return the settings that the run was trained with. Raises UserError if this version cannot represent them.

    It runs the code of plug-ins that the user names, never of those that the record names, and loads torch: tables read
    the typed fields of the record alone.
    """
    loaded = loaded_digests()
    for name, digest in record.plugins.items():
        if name not in loaded:
            raise UserError(f"run {record.id} needs the code of the plug-in {name}: name its file with plugins=[...]")
        if loaded[name] != digest:
            note_once(f"run {record.id} was trained with another version of the plug-in {name}: numbers may differ")
    try:
        return Settings.of({**record.config, "plugins": loaded_plugins()})
    except (UserError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"run {record.id}: its settings are of another version of bagoftricks ({error}): train it again"
        ) from error


def data_settings_of(record: Record) -> DataSettings:
    """Return those settings of the run's data that all data sets have. Loads neither plug-ins nor torch.

    Raises UserError if this version cannot represent them.
    """
    known = {field.name for field in fields(DataSettings)}
    try:
        values = {name: value for name, value in record.config["data"].items() if name in known}
        return from_json(DataSettings, values, "data")
    except (UserError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"run {record.id}: its settings are of another version of bagoftricks ({error})") from error


def read_record(path: Path) -> Record:
    """Return the record in a file. Raises DamagedRecord, or UserError if a newer version wrote it."""
    try:
        data = read_file(path, RECORD_BYTES)
        values = parse_json(data)
        number = values.get("format", RECORD_FORMAT)
        newer = isinstance(number, int) and number > RECORD_FORMAT
        record = None if newer else _record(values)
        if record and SURROGATE.search(
            data
        ):  # text that cannot be printed is damaged, unless it is a path's or argument's
            json.dumps(values, ensure_ascii=False).encode(errors="surrogateescape")
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DamagedRecord(
            f"{path} is not a record ({error}): restore it, or move it away and bot-train trains the run again"
        ) from error
    if record is None:
        raise UserError(f"{path} was written by a newer version of bagoftricks: upgrade this one to read it")
    return record


def _record(values: Json) -> Record:
    values, sealed = unsealed(values)
    if values.get("format") in (1, 2):
        note_once("records of earlier versions have no digest of their own: a damaged number in them is not noticed")
        values = _of_format_1(values) if values["format"] == 1 else values
    elif not sealed:
        raise ValueError(f"{SEAL} is missing")
    if values.get("format") in (1, 2, 3):
        values = _of_format_3(values)
    results = from_json(dict[str, Json], values.get("robustness", {}), "robustness")
    results = {name: _renamed(result, OF_RESULTS) for name, result in results.items()}
    values = {**values, "robustness": results}
    record = from_json(Record, values)
    others = [record.parent.id] if record.parent else []
    others += [record.cost.measured_by] if record.cost.measured_by else []
    for name in (record.id, *record.metrics, *others):
        safe_name(name, "name")
    if record.format != RECORD_FORMAT:
        raise ValueError(f"format {record.format} does not exist")
    if not isinstance(record.model.get("name"), str):
        raise ValueError("model.name must be text")
    if record.status != "done":
        raise ValueError(f"status is {record.status!r}, not 'done'")
    if LAST not in record.metrics:
        raise ValueError(f"metrics.{LAST} is missing")
    return record


def _of_format_3(values: Json) -> Json:
    """Return the values in today's format: the points of a curve called their score top1."""
    curve = [_renamed(point, {"top1": "score"}) for point in values["cost"].get("curve", [])]
    return {**values, "cost": {**values["cost"], "curve": curve}, "format": RECORD_FORMAT}


def _of_format_1(values: Json) -> Json:
    """Return the values in today's format."""
    last = dict(values["metrics"])
    copies = last.pop("copies", {})
    cost = dict(values["cost"])
    cost["curve"] = [_renamed(point, {"copy": "weights"}) for point in cost.get("curve", [])]
    config = {**values["config"], "tricks": _tricks(values["config"]["tricks"])}
    size = config.get("image_size") or config["data"]["image_size"]
    return {
        **values,
        "metrics": {LAST: last, **copies},
        "data": {**values["data"], "image_size": size},
        "cost": cost,
        "tricks": _tricks(values["tricks"]),
        "config": config,
    }


def _tricks(tricks: Mapping[str, Values]) -> dict[str, Json]:
    return {name: _renamed(params, RENAMED.get(name, {})) for name, params in tricks.items()}


def _renamed(values: Values, names: Mapping[str, str]) -> Json:
    return {names.get(name, name): value for name, value in values.items()}


def record_text(record: Record) -> str:
    """Return the record as JSON, with its seal."""
    return sealed_text(to_json(record))


def safe_name(name: str, what: str) -> str:
    """Return ``name``, which becomes part of a path. Raises UserError if it could lead elsewhere."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise UserError(f"{name!r} is no {what}: type letters, digits, _, - and . alone, and no . in front")
    return name
