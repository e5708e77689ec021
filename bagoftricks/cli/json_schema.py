"""JSON Schema (draft 2020-12) of settings, choices, tricks and records, for editors and programs; loads no torch."""

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from bagoftricks import __version__
from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.cli.topics import Setting, shared_settings
from bagoftricks.registry import Card, HyperParameter, all_cards
from bagoftricks.settings import CHOSEN_BY
from bagoftricks.store.json_fields import SEAL, Json
from bagoftricks.store.record import RECORD_FORMAT, Record
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import cards

DRAFT = "https://json-schema.org/draft/2020-12/schema"
JSON_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def json_schema() -> Json:
    """Return the schema of a run's settings; ``$defs`` has tricks, the choices of each group, and records."""
    of_tricks = {f"trick.{card.name}": _trick(card) for card in cards()}
    return {
        "$schema": DRAFT,
        "title": f"bagoftricks {__version__}: settings of a run, as a record's config has them",
        **_object_of_settings(),
        "$defs": {"choices": _choices(), "record": _record(), **of_tricks},
    }


def _object_of_settings() -> Json:
    """Return the schema of the settings, with an alternative for each data set and kind of network."""
    groups = {group: of for of, (group, _, _) in CHOSEN_BY.items()}
    found: dict[str, Json] = {"tricks": _object({c.name: {"$ref": f"#/$defs/trick.{c.name}"} for c in cards()})}
    found["loggers"] = _object({c.name: _own_settings(c) for c in all_cards("logger").values()})
    for setting in shared_settings():
        group, dot, name = setting.name.rpartition(".")
        if not dot:
            found[name] = _setting(setting.field)
        elif group not in groups:
            found.setdefault(group, _object({}))["properties"][name] = _setting(setting.field)
    shared = {group: [s for s in shared_settings() if s.name.startswith(f"{group}.")] for group in groups}
    found |= {
        group: {"oneOf": [_part(of, c, shared[group]) for c in all_cards(of).values()]} for group, of in groups.items()
    }
    return _object(found)


def _part(of: str, card: Card, shared: Iterable[Setting]) -> Json:
    """Return the schema of one data set or one kind of network."""
    group, key, _ = CHOSEN_BY[of]
    own = {field.name: _setting(field) for field in card.fields}
    of_all = {setting.name.removeprefix(f"{group}."): _setting(setting.field) for setting in shared}
    return {**_object({**of_all, **own, key: {"const": card.name}}, required=[key]), "description": card.summary}


def _trick(card: Card) -> Json:
    about = f"{card.summary} (+{card.family}={card.name}; {card.paper})"
    return {**_own_settings(card), "description": about}


def _own_settings(card: Card) -> Json:
    return {**_object({field.name: _setting(field) for field in card.fields}), "description": card.summary}


def _setting(field: HyperParameter) -> Json:
    """Return the schema of a setting from its annotation, default, choices and docstring."""
    made = _kind(str if field.choices else field.type)
    if field.choices:
        made = {"enum": [*field.choices, *[None] * (field.default is None)]}
    about = "; ".join(filter(None, [field.doc, "" if field.choices else field.must]))
    return {**made, "default": field.default, **({"description": about} if about else {})}


def _choices() -> Json:
    """Return the words that each group of the command line takes, with a line about each."""
    of_tricks = {family: {c.name: c.summary for c in cards() if c.family == family} for family in FAMILIES}
    groups = {**of_tricks, **{group: options(group) for group in YAML_GROUPS}}
    return _object({group: _one_of(words) for group, words in groups.items()})


def _one_of(words: Mapping[str, str]) -> Json:
    return {"oneOf": [{"const": word, "description": about} for word, about in words.items()]}


def _record() -> Json:
    """Return the schema of record.json."""
    made = _kind(Record)
    made["properties"] |= {SEAL: {"type": "string"}, "format": {"const": RECORD_FORMAT}}
    return {**made, "description": "Units are in the names; accuracies are in percent."}


def _kind(kind: Any) -> Json:
    """Return the schema of a type as ``store.json_fields`` writes it."""
    if kind in JSON_NAMES:
        return {"type": JSON_NAMES[kind]}
    if is_dataclass(kind):
        return _dataclass(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return {"anyOf": [_kind(argument) for argument in arguments]}
    if origin in (list, tuple):
        return {"type": "array", "items": _kind(arguments[0])}
    return {"type": "object", "additionalProperties": _kind(arguments[1])} if origin is dict else {}


def _dataclass(kind: Any) -> Json:
    hints = get_type_hints(kind)
    needed = [field.name for field in fields(kind) if _is_needed(field)]
    return {**_object({field.name: _kind(hints[field.name]) for field in fields(kind)}, needed), "title": kind.__name__}


def _is_needed(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _object(properties: Mapping[str, Json], required: Iterable[str] = ()) -> Json:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
