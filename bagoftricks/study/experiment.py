"""A table of a paper as an experiment: rows of tricks and settings in YAML, the published values in a CSV.

Reads and checks; composes and trains nothing, and imports neither torch nor Hydra. What a row asks for and the package
does not have yet is listed in ``Arm.needs``; any other mistake is a UserError that names the file. Whether a setting
exists is checked where overrides always are, on the command line.
"""

import ast
import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import experiment_files, local_path, shipped_folder, yaml_files
from bagoftricks.registry import HyperParameter, Values, added_cards, score_names
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.settings import OVERRIDE
from bagoftricks.store.json_fields import Json
from bagoftricks.study.arms import SELECTING, Arm, Tricks
from bagoftricks.study.factors import NO_TRICKS
from bagoftricks.study.fractions import Size
from bagoftricks.tricks.catalogue import card, cards
from bagoftricks.yaml_files import read_yaml

T = TypeVar("T")

OTHER_COLUMNS = (
    "mce",
    *("params", "macs", "train_images_per_s", "infer_images_per_s", "peak_memory_mib", "train_seconds"),
    *("relative_mce", "mfr", *corruption_names()),
    *("time_to_accuracy", "latency_ms", "infer_images_per_s_int8"),
)
OF_THE_USER = ("plugins", "hydra", "store", "format", "rerun")  # code, places and output: not a table's to choose
REFERENCE_BYTES = 2**20
SCALAR_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


@dataclass(frozen=True)
class Experiment:
    """The rows of one table, or the arms of a design over tricks, at one scale."""

    name: str
    title: str
    source: str
    columns: tuple[str, ...]
    scale: str
    overrides: tuple[str, ...]  # of the scale, for every arm, before the arm's own settings
    arms: tuple[Arm, ...]
    design: "Design | None"  # that made the arms, if no rows are listed
    target: float | None  # the share of right answers that the table measures the time to, if it does
    score: str | None  # that the arms are compared in, None for top-1
    resolve: float | None  # the difference that matters, in the unit of the score
    notes: tuple[str, ...]  # of the table, of its rows and of the published values that it quotes


def load_experiment(name: str, scale: str) -> Experiment:
    """Return the experiment called ``name`` (``bag_of_tricks/table5``) or in the file ``name`` (``my/study.yaml``)."""
    path = _find(name)
    table = _read_table(path)
    if scale not in table.scales:
        raise UserError(
            f"{path.name}: there is no scale '{scale}'{did_you_mean(scale, table.scales)}; type "
            + " or ".join(f"scale={known}" for known in table.scales)
        )
    published = _read_reference(_reference_path(path, table.reference)) if table.reference else {}
    return Experiment(
        name=name,
        title=table.title,
        source=table.source,
        columns=table.columns,
        scale=scale,
        overrides=table.scales[scale],
        arms=_arms(path.name, table, scale, published),
        design=table.design,
        target=(table.targets or {}).get(scale),
        score=table.score,
        resolve=table.resolve,
        notes=_notes(table, published),
    )


def column_keys() -> tuple[str, ...]:
    """Return the columns that a table may have: the scores of all tasks first."""
    return (*score_names(), *OTHER_COLUMNS)


def experiment_arguments(name: str) -> dict[str, str]:
    """Return the arguments of bot-sweep that an experiment brings, as typed; the command line's own go before."""
    table = _read_table(_find(name))
    given = {"seeds": table.seeds, "page": "true" if table.page else None}
    return {key: str(value) for key, value in given.items() if value is not None}


def experiment_scales(name: str) -> tuple[str, ...]:
    """Return the scales of an experiment."""
    return tuple(_read_table(_find(name)).scales)


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not (path := local_path("experiment", name)).is_file():
            raise UserError(f"experiment={name}: there is no such file; a name without .yaml means a known one")
        return path
    if name not in (known := experiment_files()):
        raise UserError(
            f"there is no experiment '{name}'{did_you_mean(name, known)} ({', '.join(known)}, or a path to your .yaml)"
        )
    return known[name]


# --- reading YAML into dataclasses: every reader takes the value and where it stands, for the error ---


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: must be text, not {value!r}")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserError(f"{where}: must be a list, as [a, b], not {value!r}")
    return tuple(_text(entry, f"{where}[{i}]") for i, entry in enumerate(value))


def _mapping(value: Any, where: str) -> Json:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{where}: must be a mapping, as {{name: ...}} or {{}}, not {value!r}")
    return value


def _columns(value: Any, where: str) -> tuple[str, ...]:
    for column in (columns := _texts(value, where)):
        if column not in (known := column_keys()):
            meant = did_you_mean(column, known)
            raise UserError(f"{where}: there is no column '{column}'{meant} ({', '.join(known)})")
    if not columns or len(set(columns)) < len(columns):
        raise UserError(f"{where}: must name one column or more, each once")
    return columns


def _tricks(value: Any, where: str) -> Tricks:
    found = {name: _mapping(params, f"{where}.{name}") for name, params in _mapping(value, where).items()}
    for name, params in found.items():
        for key, param in params.items():
            _no_interpolation(param, f"{where}.{name}.{key}")
    return found


def _no_interpolation(value: Any, where: str) -> None:
    """Refuse what Hydra would replace, as ``${oc.env:TOKEN}``: an experiment says the same everywhere."""
    if isinstance(value, str) and "${" in value:
        raise UserError(f"{where}: '{value}' depends on the machine or on other settings: type the value itself")


def _overrides(value: Any, where: str) -> tuple[str, ...]:
    for text in (overrides := _texts(value, where)):
        _no_interpolation(text, where)
        match = OVERRIDE.fullmatch(text)
        key, option = match.group("key", "value") if match else ("", None)
        if match is None or (option is None and not text.startswith("~")):
            raise UserError(f"{where}: '{text}' is not key=value; type it as on the command line, as epochs=200")
        if key.partition(".")[0].partition("/")[0] in OF_THE_USER:
            raise UserError(f"{where}: '{text}': {key} is for the command line alone; leave it out")
        if key in ("data", "preset", "corruptions") and option not in (known := _options(key)):
            meant = did_you_mean(str(option), known)
            raise UserError(f"{where}: {key} has no option '{option}'{meant} ({', '.join(known)})")
    return overrides


def _by_scale(value: Any, where: str) -> Mapping[str, tuple[str, ...]]:
    return {scale: _overrides(texts, f"{where}.{scale}") for scale, texts in _mapping(value, where).items()}


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{where}: must be true or false, not {value!r}")
    return value


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{where}: must be a whole number above 0, not {value!r}")
    return value


def _difference(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{where}: must be a number above 0, as 0.5, not {value!r}")
    return float(value)


def _targets(value: Any, where: str) -> Mapping[str, float]:
    for scale, target in (targets := _mapping(value, where)).items():
        if not isinstance(target, float) or not 0 < target < 1:
            raise UserError(f"{where}.{scale}: must be a share in (0, 1), as 0.94, not {target!r}")
    return targets


def _options(group: str) -> tuple[str, ...]:
    kind = {"data": "dataset", "model": "network", "task": "task", "corruptions": "protocol"}.get(group)
    plugins = added_cards(kind) if kind else {}
    return tuple(sorted({*plugins, *(path.stem for path in yaml_files(group))}))


def _key(reader: Callable[[Any, str], T], default: Any = MISSING) -> Any:
    """Declare a key of the YAML: its reader, and its value if it is left out."""
    if default is MISSING:
        return field(metadata={"read": reader})
    return field(default=default, metadata={"read": reader})


def _read(cls: type[T], value: Any, where: str) -> T:
    """``cls`` from a mapping: no unknown key, no required one missing, every value of its type."""
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in (given := _mapping(value, where)):
        if key not in known:
            raise UserError(f"{where}: there is no key '{key}'{did_you_mean(key, known)} ({', '.join(known)})")
    for name, about in known.items():
        if about.default is MISSING and name not in given:
            raise UserError(f"{where}: needs the key '{name}'")
    read = {key: known[key].metadata["read"](entry, f"{where}: {key}") for key, entry in given.items()}
    return cls(**read)


@dataclass(frozen=True, kw_only=True)
class _Row:
    label: str = _key(_text)
    tricks: Mapping[str, Values] | None = _key(_tricks, None)
    quoted: bool = _key(_flag, False)
    settings: Mapping[str, tuple[str, ...]] | None = _key(_by_scale, None)
    answers: str | None = _key(_text, None)
    compare: str | None = _key(_text, None)
    note: str | None = _key(_text, None)


@dataclass(frozen=True, kw_only=True)
class Design:
    """A design of an experiment: its name, its tricks, and its number of arms if it is a fraction."""

    name: str = _key(_text)
    tricks: tuple[str, ...] = _key(_texts)
    runs: int | None = _key(_count, None)

    @property
    def size(self) -> Size:
        """Size of the design."""
        return Size(runs=self.runs)


def _design(value: Any, where: str) -> Design:
    design = _read(Design, value, where)
    if design.name in SELECTING:
        raise UserError(f"{where}: name: {design.name} chooses arms while it runs: type it on the command line")
    return design


def _rows(value: Any, where: str) -> tuple[_Row, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: must be a list of rows, as - {{label: ..., tricks: {{}}}}")
    return tuple(_read(_Row, row, f"{where}[{i}]") for i, row in enumerate(value))


@dataclass(frozen=True, kw_only=True)
class _Table:
    title: str = _key(_text)
    source: str = _key(_text)
    columns: tuple[str, ...] = _key(_columns)
    scales: Mapping[str, tuple[str, ...]] = _key(_by_scale)
    rows: tuple[_Row, ...] = _key(_rows, ())
    design: Design | None = _key(_design, None)  # noqa: RUF009 (a frozen dataclass)
    reference: str | None = _key(_text, None)
    compare: str = _key(_text, "previous")
    tricks: Mapping[str, Values] | None = _key(_tricks, None)
    targets: Mapping[str, float] | None = _key(_targets, None)
    score: str | None = _key(_text, None)
    resolve: float | None = _key(_difference, None)
    seeds: int | None = _key(_count, None)
    page: bool = _key(_flag, False)
    notes: tuple[str, ...] = _key(_texts, ())


def _read_table(path: Path) -> _Table:
    content = read_yaml(path, path.name)
    table = _read(_Table, content, path.name)
    if bool(table.rows) == (table.design is not None):
        raise UserError(f"{path.name}: needs rows, or a design that makes them, and not both")
    labels = [row.label for row in table.rows]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{path.name}: two rows are called '{label}'; give each row its own label")
    if not table.scales:
        raise UserError(f"{path.name}: scales: must name one scale or more, as {{laptop: [preset=cifar_laptop]}}")
    if table.score and table.targets:
        raise UserError(f"{path.name}: score and targets are two ways to compare: leave one of them out")
    for scale in table.targets or {}:
        if scale not in table.scales:
            raise UserError(f"{path.name}: targets: there is no scale '{scale}'{did_you_mean(scale, table.scales)}")
    for row in table.rows:
        _check_quoted(path.name, row)
        for scale in row.settings or {}:
            if scale not in table.scales:
                meant = did_you_mean(scale, table.scales)
                raise UserError(f"{path.name}: row '{row.label}': settings: there is no scale '{scale}'{meant}")
    return table


def _check_quoted(file: str, row: _Row) -> None:
    """Raise UserError unless a row has tricks and runs, or is ``quoted`` and has neither."""
    where = f"{file}: row '{row.label}'"
    if not row.quoted and row.tricks is None:
        raise UserError(f"{where}: needs the key 'tricks'; a row of published numbers without a run has quoted: true")
    if row.quoted and row.answers is None:
        raise UserError(f"{where}: quoted: needs answers, the row of the reference with its numbers")
    for name in ("tricks", "settings", "compare"):
        if row.quoted and getattr(row, name) is not None:
            raise UserError(f"{where}: quoted: has no run, so leave {name} out")


# --- the published values ---


class _Published(NamedTuple):
    values: Mapping[str, float]
    note: str


def _reference_path(table: Path, name: str) -> Path:
    """Beside the user's own YAML, or among those shipped."""
    shipped = shipped_folder("report") / "references"
    for folder in (table.parent, shipped):
        if (path := folder / name).is_file():
            return path
    known = sorted(path.name for path in shipped.glob("*.csv"))
    raise UserError(
        f"{table.name}: reference: there is no '{name}' next to the file or shipped{did_you_mean(name, known)}"
    )


def _read_reference(path: Path) -> dict[str, _Published]:
    """Read a CSV with the columns row, any of ``column_keys``, source and note; an empty cell was not published."""
    try:
        if path.stat().st_size > REFERENCE_BYTES:
            raise UserError(f"{path.name}: is too large for the values of a table")
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.name}: cannot be read ({error})") from error
    wanted = ("row", "source", "note")
    columns = [column for column in header if column not in wanted]
    if not set(wanted) <= set(header) or not set(columns) <= set(column_keys()):
        raise UserError(f"{path.name}: its columns must be row, source, note and any of {', '.join(column_keys())}")
    published: dict[str, _Published] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path.name}, line {number}"
        if None in row or None in row.values() or row["row"] in published:
            raise UserError(f"{where}: must have {len(header)} cells and a row name of its own")
        if not row["source"]:
            raise UserError(f"{where}: must name the source of its numbers")
        values = {column: _number(row[column], f"{where}: {column}") for column in columns if row[column]}
        published[row["row"]] = _Published(values, row["note"])
    return published


def _number(text: str, where: str) -> float:
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise UserError(f"{where}: '{text}' is not a number; leave the cell empty where none was published")


# --- from rows to arms ---


def _arms(file: str, table: _Table, scale: str, published: Mapping[str, _Published]) -> tuple[Arm, ...]:
    if table.design is None:
        return tuple(_arm(file, table, index, scale, published) for index in range(len(table.rows)))
    from bagoftricks.study.designs import make_arms  # numpy, which help does without

    design = table.design
    try:
        return tuple(make_arms(design.name, design.tricks, base=table.tricks or NO_TRICKS, size=design.size))
    except UserError as error:
        raise UserError(f"{file}: design: {error}") from error


def _arm(file: str, table: _Table, index: int, scale: str, published: Mapping[str, _Published]) -> Arm:
    row = table.rows[index]
    where = f"{file}: row '{row.label}'"
    if row.answers is not None and table.reference is None:
        raise UserError(f"{where}: answers: the file names no reference; add reference: <name>.csv, or drop answers")
    if row.answers is not None and row.answers not in published:
        known = f"{did_you_mean(row.answers, published)} ({'; '.join(published)})"
        raise UserError(f"{where}: answers: {table.reference} has no row '{row.answers}'{known}")
    if row.quoted:
        return Arm(label=row.label, published=published[str(row.answers)].values, quoted=True)
    tricks = {**(table.tricks or {}), **(row.tricks or {})}
    settings = (row.settings or {}).get(scale, ())
    return Arm(
        label=row.label,
        tricks=tricks,
        settings=settings,
        compare_to=_compared(where, table, index),
        published=published[row.answers].values if row.answers is not None else {},
        needs=(*_missing_model((*table.scales[scale], *settings)), *_missing_tricks(where, tricks)),
    )


def _compared(where: str, table: _Table, index: int) -> str | None:
    """Return the label that ``compare`` means; the first row with a run has no previous one."""
    labels = [row.label for row in table.rows]
    compare = table.rows[index].compare or table.compare
    if compare == "none":
        return None
    if compare in ("previous", "first"):
        before = [row.label for row in table.rows[:index] if not row.quoted]
        return before[-1 if compare == "previous" else 0] if before else None
    if compare not in labels:
        meant = did_you_mean(compare, labels)
        raise UserError(f"{where}: compare: there is no row '{compare}'{meant}; or type previous, first or none")
    if table.rows[labels.index(compare)].quoted:
        raise UserError(f"{where}: compare: the row '{compare}' is quoted, and has no runs to compare with")
    if compare == labels[index]:
        if table.rows[index].compare is None:  # the table's: every other row is measured from this one
            return None
        raise UserError(f"{where}: compare: a row cannot be compared with itself; type none")
    return compare


def _missing_model(overrides: Iterable[str]) -> tuple[str, ...]:
    """``("model=inception_v3",)`` if the network that the last override asks for does not exist."""
    models = [text.partition("=")[2] for text in overrides if text.startswith("model=")]
    return (f"model={models[-1]}",) if models and models[-1].partition("/")[0] not in _options("model") else ()


def _missing_tricks(where: str, tricks: Tricks) -> Iterable[str]:
    """Tricks, hyper-parameters and choices that do not exist; one that is nearly right is a mistake instead."""
    existing = {known.name for known in cards()}
    for trick, params in tricks.items():
        if trick not in existing:
            yield trick
            continue
        known = {about.name: about for about in card(trick).fields}
        for name, value in params.items():
            key = f"{trick}.{name}"
            if name not in known:
                _no_near_miss(f"{where}: trick '{trick}' has no hyper-parameter '{name}'", name, tuple(known))
                yield f"{key}={value}"
            elif (choices := _choices(known[name])) and value not in choices:
                _no_near_miss(f"{where}: {key}={value}: must be one of {', '.join(choices)}", str(value), choices)
                yield f"{key}={value}"
            elif not choices:
                _check_type(f"{where}: {key}={value}", value, known[name].annotation)


def _no_near_miss(message: str, word: str, known: Sequence[str]) -> None:
    if meant := did_you_mean(word, known):
        raise UserError(message + meant)


def _choices(about: HyperParameter) -> tuple[str, ...]:
    """Return the choices of a ``Literal[...]``, as its annotation spells them."""
    if not about.annotation.startswith("Literal["):
        return ()
    return tuple(ast.literal_eval(about.annotation.removeprefix("Literal")))


def _check_type(what: str, value: Any, annotation: str) -> None:
    wanted, _, optional = annotation.partition(" | ")
    if value is None and optional == "None":
        return
    is_bool = isinstance(value, bool)
    if not isinstance(value, SCALAR_TYPES[wanted]) or is_bool != (wanted == "bool"):
        raise UserError(f"{what}: must be {annotation}")


def _notes(table: _Table, published: Mapping[str, _Published]) -> tuple[str, ...]:
    rows = [f"{row.label}: {row.note}" for row in table.rows if row.note]
    answered = dict.fromkeys(row.answers for row in table.rows if row.answers in published)
    quoted = [
        f"{answer}, published: {published[answer].note}" for answer in answered if answer and published[answer].note
    ]
    return (*table.notes, *rows, *quoted)
