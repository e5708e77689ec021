"""Text on the command line, taken letter for letter: Hydra's grammar and OmegaConf's interpolation never read it.

Every setting and hyper-parameter of the type ``str`` (also optional, or a list of them) is text. Hydra turns
``store=2025_06`` into 202506, ``data.root=null`` into no folder and ``a${seed}`` into a0, and it refuses
``data.root=写真``; so the value is quoted before Hydra sees it.
"""

import dataclasses
import re
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from bagoftricks.errors import UserError
from bagoftricks.plugins import join_list, split_items, split_list
from bagoftricks.registry import all_cards
from bagoftricks.settings import CHOSEN_BY, Settings
from bagoftricks.tricks.catalogue import card, families

LONGEST_TEXT = 10_000  # characters: Hydra's parser takes seconds for more


def setting_types() -> dict[str, Any]:
    """Return every setting as it is typed, such as ``data.root``, with its type."""
    own = {
        f"{group}.{field.name}": field.type
        for of, (group, _, _) in CHOSEN_BY.items()
        for card in all_cards(of).values()
        for field in card.fields
    }
    own |= {f"loggers.{card.name}.{f.name}": f.type for card in all_cards("logger").values() for f in card.fields}
    return _shared_types() | own


@cache
def _shared_types() -> dict[str, Any]:
    return _types(Settings)


def _types(schema: type, prefix: str = "") -> dict[str, Any]:
    hints = get_type_hints(schema)
    types: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hint := hints[field.name]):
            types |= _types(hint, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        elif field.name not in ("tricks", "loggers"):
            types[prefix + field.name] = hint
    return types


def type_of(key: str) -> Any:
    """Return the type of a setting or a hyper-parameter, None for a key that is neither."""
    top, _, below = key.partition(".")
    if top != "tricks":
        return setting_types().get(key)
    name, _, field_name = below.partition(".")
    known = card(name).fields if name in families() else ()
    return next((field.type for field in known if field.name == field_name), None)


def is_text(key: str) -> bool:
    """Return True if the value of a setting or a hyper-parameter is text, or a list of texts."""
    return str in (type_of(key), *get_args(type_of(key)))


def quoted_text(key: str, value: str, *, multirun: bool) -> str:
    """Return the value of a text setting as Hydra reads it back letter for letter.

    A list is typed as ``[a,b]``; in a multirun, commas separate the values of the runs. An item in quotes may hold
    commas.
    """
    if len(value) > LONGEST_TEXT:
        raise UserError(f"{key}={value[:40]}...: has {len(value)} characters, more than {LONGEST_TEXT}")
    if get_origin(type_of(key)) is list:
        return "[" + ",".join(map(quoted, split_list(value))) + "]"
    return ",".join(map(quoted, split_items(value) or [""])) if multirun else quoted(value)


def quoted(text: str) -> str:
    """Quote a text for Hydra's parser, which then sees no number, list, comma or interpolation in it."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), escape(text))
    return f"'{escaped}'"


def escape(value: Any) -> Any:
    """Escape what OmegaConf would interpolate in a text, or in all texts of lists and mappings."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, dict):
        return {key: escape(entry) for key, entry in value.items()}
    return [escape(entry) for entry in value] if isinstance(value, list) else value


def unescape(value: str) -> str:
    """Return a text that was escaped for OmegaConf as it was."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(OmegaConf.create([value]), resolve=True)
    return str(plain[0])


def as_typed(override: str) -> str:
    """Return an override of Hydra's as a user types it, without the quotes of ``quoted_text``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, _, value = override.partition("=")
    if not value or not is_text(key):
        return override
    parsed: Any = OverridesParser.create().parse_override(override).value()
    typed = unescape(parsed) if isinstance(parsed, str) else join_list(map(unescape, parsed))
    return f"{key}={typed}"
