"""JSON to dataclasses and back. Values of the wrong type raise ValueError with the path of the field.

JSON on disk is strict and may be sealed: it holds the SHA-256 of its own values, so that a changed number is noticed.
"""

import json
import math
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Json = dict[str, Any]  # a plain JSON object, whose fields nothing here reads by name
T = TypeVar("T")
NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "an object"}

SEAL = "sha256"  # field of a sealed object


def parse_json(data: bytes) -> Any:
    """Return strict JSON in UTF-8. Raises ValueError, also for NaN, infinities, a key twice, and deep nesting."""
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite_number
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sealed_text(values: Mapping[str, Any]) -> str:
    """Return an object as strict JSON, with its seal. Raises ValueError for a number that is not finite."""
    made = json.loads(json.dumps(values, allow_nan=False))
    return json.dumps({**made, SEAL: _seal(made)}, indent=2) + "\n"


def unsealed(values: Json) -> tuple[Json, bool]:
    """Return an object without its seal, and True if it had one. Raises ValueError if the seal is of other values."""
    rest = {name: value for name, value in values.items() if name != SEAL}
    if SEAL in values and values[SEAL] != _seal(rest):
        raise ValueError(f"its {SEAL} is not that of its values: it was damaged or edited")
    return rest, SEAL in values


def _seal(values: Json) -> str:
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(
            f"it has the key {next(k for k, _ in pairs if [key for key, _ in pairs].count(k) > 1)!r} twice"
        )
    return found


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _finite_number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is too large a number")
    return number


def from_json(kind: type[T] | types.GenericAlias, value: object, path: str = "") -> T:
    """Return ``value``, as ``json.loads`` returns it, as an object of the dataclass or type ``kind``."""
    try:
        made: T = _reader(cast(Hashable, kind))(value)
    except Misfit as misfit:
        where = path + "".join(misfit.path)
        where = where if path else where.removeprefix(".")
        raise ValueError((where or "it") + misfit.text) from misfit.__cause__
    return made


def to_json(value: object) -> Any:
    """Return dataclasses as objects, tuples as lists; fields that are None by default and unset are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: (field, getattr(value, field.name)) for field in fields(value)}
        return {name: to_json(held) for name, (field, held) in found.items() if not _is_unset(field, held)}
    if isinstance(value, Mapping):
        return {name: to_json(held) for name, held in value.items()}
    return [to_json(held) for held in value] if isinstance(value, list | tuple) else value


def _is_unset(field: "Field[Any]", value: object) -> bool:
    return value is None and field.default is None


class Misfit(ValueError):
    """Value of the wrong type. The parts of ``path``, the outermost first, lead to it; ``text`` follows its place."""

    def __init__(self, text: str, part: str = "") -> None:
        super().__init__(text)
        self.text, self.path = text, [part] if part else []


Reader = Callable[[Any], Any]  # raises Misfit


@cache
def _reader(kind: Any) -> Reader:
    """Return what reads values of a type: made once, for thousands of records. A place is named in an error alone."""
    if kind is Any:
        return lambda value: value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):  # of one type and None alone
        inner = _reader(next(a for a in arguments if a is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, list):
        return _list_reader(origin, _reader(arguments[0]))
    if origin is dict:
        return _mapping_reader(_reader(arguments[1]))
    return _dataclass_reader(kind) if is_dataclass(kind) else _plain_reader(kind)


def _list_reader(origin: type, read: Reader) -> Reader:
    def read_list(value: Any) -> Any:
        if not isinstance(value, list):
            raise _wrong("a list", value)
        return origin(_each(enumerate(value), read, "[{}]"))

    return read_list


def _mapping_reader(read: Reader) -> Reader:
    def read_mapping(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(NAMES[dict], value)
        return dict(zip(value, _each(value.items(), read, ".{}"), strict=True))

    return read_mapping


def _each(items: Iterable[tuple[Any, Any]], read: Reader, part: str) -> Iterator[Any]:
    for name, item in items:
        try:
            made = read(item)
        except Misfit as misfit:
            misfit.path.insert(0, part.format(name))
            raise
        yield made


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]

    def read_object(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(NAMES[dict], value)
        if not value.keys() <= readers.keys():
            raise Misfit(": unknown field", f".{min(value.keys() - readers.keys())}")
        for name in needed:
            if name not in value:
                raise Misfit(" is missing", f".{name}")
        values = {}
        for name, item in value.items():
            try:
                values[name] = readers[name](item)
            except Misfit as misfit:
                misfit.path.insert(0, f".{name}")
                raise
        try:
            return kind(**values)
        except ValueError as error:  # of its own check
            raise Misfit(f": {error}") from error

    return read_object


def _plain_reader(kind: Any) -> Reader:
    accepted = (int, float) if kind is float else kind

    def read_plain(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(NAMES[kind], value)
        if kind not in (int, float):
            return value
        try:
            number = float(value)
        except OverflowError as error:
            raise Misfit(": too large a number") from error
        return number if kind is float else value

    return read_plain


def _wrong(wanted: str, value: object) -> Misfit:
    return Misfit(f" must be {wanted}, not {str(value)[:40]!r}")
