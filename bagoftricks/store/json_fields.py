"""JSON to dataclasses and back. Values of the wrong type raise ValueError with the path of the field.

JSON on disk is strict and may be sealed: it holds the SHA-256 of its own values, so that a changed number is noticed.
"""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

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
    made: T = _read(kind, value, path)
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


def _read(kind: Any, value: object, path: str) -> Any:
    if kind is Any:
        return value
    origin, arguments, composed = _form(kind)
    if origin in (types.UnionType, Union):  # of one type and None alone
        return None if value is None else _read(next(a for a in arguments if a is not type(None)), value, path)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        return origin(_read(arguments[0], item, f"{path}[{at}]") for at, item in enumerate(value))
    if origin is dict:
        held = _object(value, path)
        return {name: _read(arguments[1], item, _below(path, name)) for name, item in held.items()}
    return _dataclass(kind, value, path) if composed else _plain(kind, value, path)


@cache
def _form(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Return the origin and the arguments of a type, and True for a dataclass: the same for thousands of records."""
    return get_origin(kind), get_args(kind), is_dataclass(kind)


def _dataclass(kind: Any, value: object, path: str) -> Any:
    held, known, hints = _object(value, path), fields(kind), _hints(kind)
    if unknown := sorted(held.keys() - {field.name for field in known}):
        raise ValueError(f"{_below(path, unknown[0])}: unknown field")
    for field in known:
        if field.name not in held and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{_below(path, field.name)} is missing")
    values = {name: _read(hints[name], item, _below(path, name)) for name, item in held.items()}
    try:
        return kind(**values)
    except ValueError as error:  # of its own check
        raise ValueError(f"{path or 'it'}: {error}") from error


@cache
def _hints(kind: Any) -> Json:
    return get_type_hints(kind)


def _plain(kind: Any, value: object, path: str) -> Any:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(path, NAMES[kind], value)
    if kind not in (int, float):
        return value
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError(f"{path}: too large a number") from error
    return number if kind is float else value


def _object(value: object, path: str) -> Json:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    return value


def _wrong(path: str, wanted: str, value: object) -> ValueError:
    return ValueError(f"{path or 'it'} must be {wanted}, not {str(value)[:40]!r}")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
