"""Everything that can be added, found by name: tricks, networks, data sets, tasks, protocols, loggers, engines.

Each is a keyword-only dataclass of settings in a file of its own, marked by a decorator: ours in the package, a user's
in a plug-in. ``--help`` lists them and the command line types their settings, yet importing one imports torch, which
takes seconds. So a *card* is read from the source with ``ast``, and the class is imported when it is used
(docs/adr/0004, 0012).
"""

import ast
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypeAlias, TypeVar

from typing_extensions import dataclass_transform

from bagoftricks.errors import UserError, did_you_mean

C = TypeVar("C", bound=type[Any])
Values: TypeAlias = Mapping[str, Any]  # settings of a trick, a network or a data set, by name
PACKAGE = Path(__file__).parent
ONE_OF = "one of "
PLUGIN_MODULES = "bagoftricks_plugin_"  # begins the names of modules that are loaded from plug-in files

# kind -> (what a user calls it, pattern of the shipped files, settings that choose one of them)
KINDS = {
    "trick": ("trick", "tricks/*/*.py"),
    "network": ("network", "models/*.py"),
    "dataset": ("data set", "data/*.py"),
    "task": ("task", "tasks/*.py"),
    "protocol": ("protocol", "robustness/protocols.py"),
    "logger": ("logger", "loggers/*.py"),
    "engine": ("engine", "engines/*.py"),
}
TYPES: dict[str, object] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "int | None": Optional[int],  # noqa: UP045 (the spelling that OmegaConf reads)
    "float | None": Optional[float],  # noqa: UP045
    "str | None": Optional[str],  # noqa: UP045
    "Optional[int]": Optional[int],  # noqa: UP045
    "Optional[float]": Optional[float],  # noqa: UP045
    "Optional[str]": Optional[str],  # noqa: UP045
    "list[int]": list[int],
    "list[float]": list[float],
    "list[str]": list[str],
}


PREFIXES = {
    "trick": "tricks.{}.",
    "network": "model.",
    "dataset": "data.",
    "task": "task.",
    "protocol": "corruptions.",
    "logger": "loggers.{}.",
    "engine": "engine.",
}
MOST: dict[type, float] = {bool: 1, int: 2**32 - 1, float: 1e30}  # of any setting; fp32 holds it


# --- decorators ---


@dataclass_transform(kw_only_default=True)
def network(*, kind: str) -> Callable[[C], C]:
    """Register a subclass of ModelSettings with ``build(num_classes, *, image_size, parts)`` as a kind of network."""

    def register(cls: C) -> C:
        return _with_default(cls, "kind", kind)

    return register


@dataclass_transform(kw_only_default=True)
def dataset(*, name: str) -> Callable[[C], C]:
    """Register a subclass of DataSettings with ``find()`` as a data set."""

    def register(cls: C) -> C:
        return _with_default(cls, "name", name)

    return register


@dataclass_transform(kw_only_default=True)
def task(*, name: str, scores: Mapping[str, str]) -> Callable[[C], C]:
    """Register a subclass of TaskSettings as a task.

    ``scores`` gives each score's key in records and its name in tables, in percent and the higher the better, but for
    ``loss``. Runs are compared in the first one. It is a literal: tables read it without the task's code.
    """

    def register(cls: C) -> C:
        cls.scores = dict(scores)
        return _with_default(cls, "name", name)

    return register


@dataclass_transform(kw_only_default=True)
def protocol(*, name: str) -> Callable[[C], C]:
    """Register a subclass of Protocol as a protocol of robustness."""

    def register(cls: C) -> C:
        return _with_default(cls, "name", name)

    return register


@dataclass_transform(kw_only_default=True)
def logger(*, name: str, package: str = "") -> Callable[[C], C]:
    """Register a subclass of Logger as a logger; ``package`` is what it needs installed, as Python imports it."""
    return lambda cls: dataclass(kw_only=True)(cls)  # type: ignore[return-value]


@dataclass_transform(kw_only_default=True)
def engine(*, name: str, package: str = "") -> Callable[[C], C]:
    """Register a subclass of Engine as an engine; ``package`` is what it needs installed, as Python imports it."""
    return lambda cls: dataclass(kw_only=True)(cls)  # type: ignore[return-value]


def _with_default(cls: C, field_name: str, value: str) -> C:
    """Make a dataclass of a class, with another default of a field that it inherits."""
    cls.__annotations__[field_name] = "str"
    setattr(cls, field_name, value)
    return dataclass(kw_only=True)(cls)  # type: ignore[return-value]


# --- cards ---


class HyperParameter(NamedTuple):
    """One setting of a card: its annotation as written, its default, its docstring, and what its value must be."""

    name: str
    annotation: str
    default: Any
    doc: str
    must: str = ""

    @property
    def type(self) -> Any:
        """The type the command line converts to; the choices of a ``Literal`` are text until the class checks them."""
        return str if self.annotation.startswith("Literal[") else TYPES[self.annotation]

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a ``Literal``, or those that the class chooses from."""
        if self.annotation.startswith("Literal["):
            return tuple(map(str, ast.literal_eval(f"({self.annotation[8:-1]},)")))
        return tuple(self.must.removeprefix(ONE_OF).split(", ")) if self.must.startswith(ONE_OF) else ()


class Card(NamedTuple):
    """Facts of something that can be added, known before it is imported."""

    kind: str
    name: str
    class_name: str
    summary: str
    fields: tuple[HyperParameter, ...]
    options: Values  # literal arguments of the decorator
    source: Path
    module: str  # dotted name, or that of a plug-in's module

    @property
    def family(self) -> str:
        return str(self.options["family"])

    @property
    def paper(self) -> str:
        return str(self.options["paper"])

    @property
    def warns(self) -> Mapping[str, str]:
        """Tricks with which this one should not be combined -> why."""
        return dict(self.options.get("warns", {}))

    @property
    def overlaps(self) -> str:
        """Reason why a trick trains for corruptions that robustness is measured on; empty: it does not."""
        return str(self.options.get("overlaps", ""))

    @property
    def overlaps_if(self) -> str:
        """Name of the hyper-parameter without which a trick does not overlap."""
        return str(self.options.get("overlaps_if", ""))

    @property
    def scores(self) -> Mapping[str, str]:
        """Scores of a task by their keys, with their names in tables; runs are compared in the first one."""
        return dict(self.options.get("scores", {}))

    def schema(self) -> type:
        """Return the settings as a dataclass, for Hydra's ConfigStore."""
        return make_dataclass(self.class_name, [schema_field(f.name, f.type, f.default) for f in self.fields])

    def load(self) -> type[Any]:
        """Import the class. Raises UserError if a plug-in cannot be imported."""
        return getattr(_module(self), self.class_name)  # type: ignore[no-any-return]


def schema_field(name: str, type_: Any, default: Any) -> tuple[str, Any, Any]:
    """Return a field for ``make_dataclass``; lists are copied for each instance."""
    if isinstance(default, list):
        return name, type_, field(default_factory=lambda: list(default), kw_only=True)
    return name, type_, field(default=default, kw_only=True)


def score_names() -> dict[str, str]:
    """Return the name of each score of every task by its key, classification's first."""
    tasks = sorted(all_cards("task").values(), key=lambda card: card.name != "classification")
    return {key: name for card in tasks for key, name in card.scores.items()}


@cache
def shipped(kind: str) -> dict[str, Card]:
    """Return the cards of the package by name."""
    return {card.name: card for path in sorted(PACKAGE.glob(KINDS[kind][1])) for card in cards_in(path, kind)}


_added: dict[tuple[str, str], Card] = {}  # of plug-ins, by kind and name


def added_cards(kind: str) -> dict[str, Card]:
    """Return the cards of plug-ins by name."""
    return {name: card for (of, name), card in _added.items() if of == kind}


def all_cards(kind: str) -> dict[str, Card]:
    """Return the cards of one kind by name, those of plug-ins last."""
    return {**shipped(kind), **added_cards(kind)}


def find_card(kind: str, name: str) -> Card:
    """Return the card called ``name``. Raises UserError with the nearest name."""
    known = all_cards(kind)
    if name not in known:
        raise UserError(f"there is no {KINDS[kind][0]} '{name}'{did_you_mean(name, known)} ({', '.join(known)})")
    return known[name]


def forget_cards() -> None:
    """Forget the cards of plug-ins."""
    _added.clear()


def add_card(card: Card) -> None:
    """Register a plug-in's card. Raises UserError if the name is taken."""
    other = all_cards(card.kind).get(card.name)
    if other is not None and other.source != card.source:
        what = KINDS[card.kind][0]
        raise UserError(f"{card.source}: the {what} '{card.name}' stands in {other.source} already; rename yours")
    _added[card.kind, card.name] = card


def cards_in(path: Path, *kinds: str, module: str = "") -> list[Card]:
    """Read the cards of a source file: classes with one of our decorators. Raises SyntaxError, OSError."""
    found = []
    text = path.read_text(encoding="utf-8")
    if kinds and not any(f"@{kind}" in text for kind in kinds):
        return []  # to parse a file takes longer than to read it
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and (marked := _marked(node, kinds or tuple(KINDS))) is not None:
            kind, options = marked
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            name = _name_of(kind, node, options, path, shipped=not module)
            if kind == "trick":
                options = {**options, "family": options.get("family") or (path.parent.name if not module else "")}
                _check_family(path, node, options["family"])
            where = module or ".".join(["bagoftricks", *path.relative_to(PACKAGE).with_suffix("").parts])
            found.append(Card(kind, name, node.name, summary, tuple(fields_of(node)), options, path, where))
    return found


def _marked(node: ast.ClassDef, kinds: tuple[str, ...]) -> tuple[str, Values] | None:
    """Return kind and literal arguments of the decorator of a class, None without one of ours."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            kind = ast.unparse(decorator.func).rpartition(".")[2]
            if kind in kinds:
                return kind, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in decorator.keywords}
    return None


def _check_family(path: Path, node: ast.ClassDef, family: object) -> None:
    families = ("tweak", "efficiency", "refine", "regularize")
    if family not in families:
        meant = did_you_mean(str(family), families)
        raise ValueError(f"{node.name} needs @trick(family=...), one of {', '.join(families)}{meant}")


def _name_of(kind: str, node: ast.ClassDef, options: Values, path: Path, *, shipped: bool) -> str:
    """Return the name under which a class is chosen: a shipped trick's is its file's."""
    given = options.get("kind" if kind == "network" else "name")
    return str(given or (path.stem if shipped else snake_case(node.name)))


def snake_case(name: str) -> str:
    """Return ``poly_loss`` for ``PolyLoss``."""
    spaced = "".join(f"_{c}" if c.isupper() and i and not name[i - 1].isupper() else c for i, c in enumerate(name))
    return spaced.lower()


def fields_of(node: ast.ClassDef) -> list[HyperParameter]:
    """Return the annotated fields of a class, with their literal defaults and the docstring under each."""
    must = _conditions(node)
    return [
        HyperParameter(name, ast.unparse(statement.annotation), _default(statement.value), doc, must.get(name, ""))
        for name, (statement, doc) in documented(node).items()
        if not ast.unparse(statement.annotation).startswith("ClassVar")
    ]


def _conditions(node: ast.ClassDef) -> dict[str, str]:
    """Return what ``__post_init__`` checks of the fields, where that is written out: ``require``, ``choose``."""
    found = {}
    checks = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__post_init__"]
    for call in (call for check in checks for call in ast.walk(check)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("require", "choose"):
            values = [_default(argument) for argument in call.args]
            if call.func.id == "require" and isinstance(values[-1], str):
                found[values[1]] = f"must be {values[-1]}"
            elif call.func.id == "choose" and values[0] and values[-1]:
                found[values[0].rpartition(".")[2]] = ONE_OF + ", ".join(values[-1])
    return found


def _default(value: ast.expr | None) -> Any:
    """Return a literal, or the literal that ``field(default_factory=lambda: ...)`` makes; None for anything else."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        made = next((keyword.value for keyword in value.keywords if keyword.arg == "default_factory"), None)
        value = made.body if isinstance(made, ast.Lambda) else ast.parse("[]", mode="eval").body
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None


def documented(node: ast.ClassDef) -> dict[str, tuple[ast.AnnAssign, str]]:
    """Return each annotated field of a class with the docstring under it, on one line."""
    found = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            doc = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[statement.target.id] = statement, " ".join(str(doc).split())
    return found


# --- classes ---


def make_object(card: Card, values: Values) -> Any:
    """Return an object of the card's class with these settings, the others at their defaults.

    Raises UserError for a number that no run can use.
    """
    check_numbers(PREFIXES[card.kind].format(card.name), values)
    cls = card.load()
    annotations = {field.name: field.annotation for field in card.fields}
    exact = {key: float(v) if _is_whole_float(annotations.get(key, ""), v) else v for key, v in values.items()}
    return cls(**exact)


def check_numbers(prefix: str, values: Values) -> None:
    """Raise UserError for a number that is infinite, not a number, or beyond any use. Texts are left alone."""
    for name, value in values.items():
        listed = isinstance(value, list | tuple)
        for number in value if listed else [value]:
            if listed and isinstance(number, list | dict):
                raise UserError(f"{prefix}{name}={value}: must be a plain list, as [1,2]")
            if isinstance(number, int | float):
                if isinstance(number, float) and not math.isfinite(number):
                    raise UserError(f"{prefix}{name}={number}: must be a finite number")
                if abs(number) > MOST[type(number)]:
                    raise UserError(f"{prefix}{name}={number}: is beyond any use")


def check_range(name: str, number: float, least: float, most: float) -> None:
    """Raise UserError unless a number is between ``least`` and ``most``; what is not a number never is."""
    if not least <= number <= most:
        raise UserError(f"{name}={number}: must be between {least} and {most}")


def _is_whole_float(annotation: str, value: object) -> bool:
    """Return True for 1 where 1.0 is meant: the two are the same run."""
    return annotation.startswith("float") and isinstance(value, int) and not isinstance(value, bool)


def _module(card: Card) -> Any:
    if not card.module.startswith(PLUGIN_MODULES):
        return _imported(card, lambda: import_module(card.module))
    if card.module not in sys.modules:
        _imported(card, lambda: _from_file(card.module, card.source))
    return sys.modules[card.module]


def _from_file(name: str, path: Path) -> Any:
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = made = module_from_spec(spec)
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[name]
        raise
    return made


def _imported(card: Card, load: Callable[[], Any]) -> Any:
    """Import; a plug-in that cannot be imported is its author's, not ours."""
    try:
        return load()
    except Exception as error:
        if card.source.is_relative_to(PACKAGE):
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(f"plugins={card.source}: cannot be imported ({reason})") from error
