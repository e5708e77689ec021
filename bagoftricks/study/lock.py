"""Lock of a study: all that its runs are made of, and their results, as one JSON object that travels.

The page of a study and the JSON of its table carry it (docs/travel.md). It has no places of the machine (folders,
stores) and no code; settings that all arms share are stored once. Nothing in it is executed: a reader checks its size,
its seal and its types, and whoever uses a value checks it like one that was typed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bagoftricks.errors import UserError
from bagoftricks.folders import local_path
from bagoftricks.store.files import open_regular
from bagoftricks.store.json_fields import SEAL, Json, from_json, parse_json, sealed_text, to_json, unsealed
from bagoftricks.store.record import Scores, safe_name
from bagoftricks.store.secrets import HIDDEN
from bagoftricks.store.weight_sets import LAST
from bagoftricks.study.selection import Selection

LOCK_FORMAT = 1  # raise it when an older version could misread a newer lock
LOCK_TAG = '<script type="application/json" id="lock">'  # in a page, in front of the lock
LOCK_KEY = "lock"  # of the JSON of a table
CARRIER_BYTES = 2**25  # most, of a file with a lock
MOST_VALUES, DEEPEST = 1_000_000, 12  # JSON values of a lock, and how deep they are nested
MOST_RUNS = 65_536
MOST_SCORE = 1e6  # of an evaluation on corrupted images: errors in percent, also over another network's
DIGITS = 16  # of a digest, where it is named in a text
LONGEST_LOCK_NAME = 200  # characters of a study's name

LOCKED_RUNTIME = (  # runtime settings that change the last bits, the curve or the meaning of a run
    *("sync_norm", "devices", "deterministic", "auto_micro_batch", "channels_last", "compile", "compile_mode"),
    *("eval_every", "warmup_steps", "measurement"),
)
OF_THE_PLACE = (  # settings that are no part of a study, or name places and code of a machine
    *(
        "store",
        "format",
        "plugins",
        "rerun",
        "extend",
        "restart",
        "measure",
        "quantize",
        "objective",
        "metric",
        "target",
    ),
    *("price_per_hour", "seed", "tricks", "data.root", "data.val_root", "data.cache", "data.file"),
    *("corruptions.stored", "corruptions.frost", "corruptions.each"),
)
NAMES_OF_FILES = ("model.weights", "tricks.distill.teacher")  # name contents, whose digest is in the run's id
FOLDERS = re.compile(r"[^:]*/")  # of a path, also in timm:NAME:PATH


@dataclass(frozen=True, kw_only=True)
class LockedData:
    """A data set: the digest is of its images, labels and class names."""

    name: str
    digest: str
    classes: int
    train_images: int
    val_images: int


@dataclass(frozen=True, kw_only=True)
class LockedMachine:
    """Device and versions of runs."""

    device: str
    threads: int
    python: str
    bagoftricks: str
    torch: str
    torchvision: str
    numpy: str
    git_revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class LockedRun:
    """A finished run: its identity and its results."""

    id: str
    seed: int
    machine: int = 0  # index into the machines of the lock
    metrics: dict[str, Scores]  # by weight set
    robustness: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)  # evaluation, weight set, score
    weights: dict[str, str] = field(default_factory=dict)  # file of weights -> its SHA-256

    def __post_init__(self) -> None:
        for name in (self.id, *self.metrics):
            safe_name(name, "name")
        first = [scores.top1 for scores in self.metrics.values() if scores.others is None]
        if LAST not in self.metrics or any(top1 is None or not 0 <= top1 <= 100 for top1 in first):
            raise ValueError(f"it must have metrics of {LAST}, with accuracies in percent")
        robust = [by_key for by_weights in self.robustness.values() for by_key in by_weights.values()]
        if any(not 0 <= value <= MOST_SCORE for by_key in robust for value in by_key.values()):
            raise ValueError("it has a score that no evaluation gives")


@dataclass(frozen=True, kw_only=True)
class LockedArm:
    """An arm: what it adds to the settings and tricks of all arms, and its finished runs."""

    label: str
    tricks: dict[str, Json] = field(default_factory=dict)  # the design's, with their hyper-parameters
    settings: Json = field(default_factory=dict)  # by key, as they are typed
    more_tricks: dict[str, Json] = field(default_factory=dict)  # neither the design's nor all arms'
    typed: tuple[str, ...] = ()  # overrides of the row, as they were typed
    compare_to: str | None = None
    published: dict[str, float] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # what did not exist
    quoted: bool | None = None  # True: published numbers alone
    on: tuple[str, ...] = ()  # labels of the levels that are switched on, of factors
    evaluation: str | None = None  # on corrupted images, by its name in the records
    data: int | None = None  # index into the data sets of the lock; None without a finished run
    contents: dict[str, str] = field(default_factory=dict)  # setting that names a file -> digest of its contents
    runs: tuple[LockedRun, ...] = ()
    unfinished: dict[str, str] = field(default_factory=dict)  # seed -> id of a run without a record


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A study that travels."""

    name: str
    command: str
    seeds: tuple[int, ...]
    arms: tuple[LockedArm, ...]
    data: tuple[LockedData, ...]
    machines: tuple[LockedMachine, ...]
    settings: Json = field(default_factory=dict)  # of all arms, by key, as they are typed
    tricks: dict[str, Json] = field(default_factory=dict)  # of all arms, next to the design's
    plugins: dict[str, str] = field(default_factory=dict)  # plug-in -> digest of its source
    title: str | None = None
    source: str | None = None  # of the published values
    scale: str | None = None
    design: str | None = None
    factors: tuple[tuple[str, ...], ...] = ()  # labels of each factor's levels
    selection: Selection | None = None  # of designs that choose among their arms
    columns: tuple[str, ...] | None = None
    target: float | None = None  # share of right answers of time_to_accuracy
    price_per_hour: float | None = None
    notes: tuple[str, ...] = ()
    format: int = LOCK_FORMAT

    def __post_init__(self) -> None:
        labels = [arm.label for arm in self.arms]
        if not self.name.isprintable() or not 0 < len(self.name) <= LONGEST_LOCK_NAME:
            raise ValueError(f"name must be a text of 1 to {LONGEST_LOCK_NAME} printable characters")
        if not labels or len(set(labels)) < len(labels):
            raise ValueError("arms must have one label or more, each once")
        if not 0 < len(self.seeds) * len(labels) <= MOST_RUNS or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must make 1 to {MOST_RUNS:,} runs, each once")
        levels = {level for factor in self.factors for level in factor}
        for arm in self.arms:
            if arm.compare_to not in (None, *labels):
                raise ValueError(f"arm {arm.label!r} is compared with {arm.compare_to!r}, which is no arm")
            if arm.data not in (None, *range(len(self.data))):
                raise ValueError(f"arm {arm.label!r} has no such data")
            if not levels.issuperset(arm.on):
                raise ValueError(f"arm {arm.label!r} has a level of no factor")
            seeds = [run.seed for run in arm.runs]
            if len(set(seeds)) < len(seeds) or not set(seeds) <= set(self.seeds):
                raise ValueError(f"arm {arm.label!r} must have runs of the seeds, one of each")
            if any(run.machine not in range(len(self.machines)) for run in arm.runs):
                raise ValueError(f"arm {arm.label!r} has a run without a machine")

    def ids(self) -> dict[str, dict[int, str]]:
        """Return label -> seed -> run id, also of runs that were not finished."""
        return {
            arm.label: {run.seed: run.id for run in arm.runs} | {int(seed): i for seed, i in arm.unfinished.items()}
            for arm in self.arms
        }


# --- writing ---


def lock_values(lock: Lock) -> Json:
    """Return the lock as a JSON object with its seal. Empty fields are left out."""
    values = to_json(lock)
    values["arms"] = [{**_filled(arm), "runs": list(map(_filled, arm["runs"]))} for arm in values["arms"]]
    sealed: Json = json.loads(sealed_text(_filled(values)))
    return sealed


def _filled(values: Json) -> Json:
    return {name: value for name, value in values.items() if value not in ({}, [])}


def lock_json(*locks: Lock) -> str:
    """Return locks as JSON that may stand inside HTML: no character of it ends or begins a tag. Several are a list."""
    values = [lock_values(lock) for lock in locks]
    text = json.dumps(values[0] if len(values) == 1 else values, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def lock_element(*locks: Lock) -> str:
    """Return the element of a page that holds the locks of its studies."""
    return f"{LOCK_TAG}{lock_json(*locks)}</script>"


def lock_digest(lock: Lock) -> str:
    """Return the digest of a lock, as its seal has it: two locks with one digest hold the same values."""
    return str(lock_values(lock)[SEAL])


def lock_line(lock: Lock, *, command: bool = True) -> str:
    """Return the study, its digest and its command in a line, as for a comment; without the command for a caption."""
    return f"study {lock.name}, lock {lock_digest(lock)[:DIGITS]}" + (f", made by: {lock.command}" if command else "")


# --- reading ---


def read_lock(setting: str, value: str, name: str = "") -> Lock:
    """Return the lock in the page or JSON that a setting such as ``from`` names; of several, that of study ``name``.

    Raises UserError for a file without a lock, and for one that is damaged, too large or of a newer version.
    """
    path = local_path(setting, value)
    try:
        found = _find(_read(path))
        newer = any(isinstance(number := values.get("format"), int) and number > LOCK_FORMAT for values in found)
        locks = [] if newer else list({str(values[SEAL]): _checked(values) for values in found}.values())
    except FileNotFoundError as error:
        raise UserError(f"{setting}={value}: no such file") from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{setting}={value}: holds no lock of a study ({why}): name a page or JSON of one") from error
    if newer:
        raise UserError(
            f"{setting}={value}: was written by a newer version of bagoftricks: upgrade this one to read it"
        )
    chosen = locks if len(locks) == 1 else [lock for lock in locks if lock.name == name]
    if len(chosen) != 1:
        what = "study" if setting == "compare" else "name"
        names = ", ".join(lock.name for lock in locks)
        raise UserError(f"{setting}={value}: holds the studies {names}: choose one with {what}=NAME")
    return chosen[0]


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(CARRIER_BYTES + 1)
    if len(data) > CARRIER_BYTES:
        raise ValueError(f"it has more than {CARRIER_BYTES:,} bytes")
    return data


def _find(data: bytes) -> list[Json]:
    """Return the values of the locks in a page, in the JSON of a table, or alone."""
    tag = LOCK_TAG.encode()
    if data.lstrip()[:1] not in (b"{", b"["):
        if data.count(tag) != 1:
            raise ValueError("it has no lock" if tag not in data else "it has several places of a lock")
        data, end, _ = data.partition(tag)[2].partition(b"</script>")
        if not end:
            raise ValueError("it ends inside the lock")
    values = parse_json(data)
    found = values if isinstance(values, list) else [values.get(LOCK_KEY, values)]
    if not found or any(not isinstance(each, dict) or SEAL not in each for each in found):
        raise ValueError(f"it has no {LOCK_KEY}")
    _check_size(found)
    return found


def _check_size(values: Any) -> None:
    """Raise ValueError for more values, or deeper ones, than any study has."""
    level, count = [values], 0
    for _ in range(DEEPEST):
        level = [held for value in level for held in _inside(value)]
        count += len(level)
    if level or count > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values, or more than {DEEPEST} levels")


def _inside(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()


def _checked(values: Json) -> Lock:
    lock = from_json(Lock, unsealed(values)[0])
    if lock.format != LOCK_FORMAT:
        raise ValueError(f"format {lock.format} does not exist")
    for arm in lock.arms:
        for seed, run_id in arm.unfinished.items():
            safe_name(run_id, "id")
            if int(seed) not in lock.seeds:
                raise ValueError(f"arm {arm.label!r} has a run of no seed")
    return lock


# --- settings that travel ---


def travelling(settings: Mapping[str, Any]) -> Json:
    """Return settings by key without those of the machine; of a file's path, its name remains."""
    found = {key: value for key, value in settings.items() if travels(key) and value != HIDDEN}
    if settings.get("runtime.sync_norm") is not False:  # otherwise the number of devices is a part of the run
        found.pop("runtime.devices", None)
    return {key: without_folders(value) if key in NAMES_OF_FILES else value for key, value in found.items()}


def travels(key: str) -> bool:
    """Return True if a setting is a study's own: it names no place, code or output of a machine."""
    group, _, name = key.partition(".")
    if group == "runtime":
        return name in LOCKED_RUNTIME
    return key not in OF_THE_PLACE and group != "tricks"


def without_folders(value: Any) -> Any:
    """Return a path without its folders, also in ``timm:NAME:PATH``."""
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def held_by_all(values: Sequence[Mapping[str, Any]]) -> Json:
    """Return what all mappings hold, key by key."""
    first, *others = values or ({},)
    return {key: held for key, held in first.items() if all(key in o and o[key] == held for o in others)}
