"""Python values as the arguments that a user types: ``data.flip=false`` for ``data={"flip": False}``."""

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from bagoftricks.errors import UserError
from bagoftricks.plugins import join_list

Arguments = dict[str, str | None]  # setting -> what is typed for it; None: back to no value


def typed_arguments(values: Mapping[str, object], within: str = "") -> Arguments:
    """Return every setting with its value as typed; a mapping holds settings below its name, as ``data.limit``."""
    found: Arguments = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= typed_arguments(value, f"{within}{name}.")
        else:
            found[within + name] = None if value is None else typed_list(within + name, value)
    return found


def typed_list(name: str, value: object) -> str:
    """Return a value as it is typed, lists included. Raises UserError for one that cannot be typed."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return join_list(typed_value_of(name, each) for each in value)
    return typed_value_of(name, value)


def typed_value_of(name: str, value: object) -> str:
    """Return one text, number or truth value as it is typed."""
    if isinstance(value, str | os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Integral):  # numpy's too
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    raise UserError(f"{name}={value!r}: must be text, a number, True, False or None, or a list of them")
