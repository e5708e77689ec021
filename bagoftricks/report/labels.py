"""Labels of runs: their tricks, or the preset that they were trained with and what was changed of it."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.folders import user_folders, yaml_files
from bagoftricks.registry import Values
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import TeacherFacts
from bagoftricks.store.survey import SHORT_ID
from bagoftricks.store.weight_sets import LAST
from bagoftricks.tricks.catalogue import card, families
from bagoftricks.yaml_files import read_yaml

PRESET = re.compile(r"(?:^|\s)'?\+?preset=([\w.-]+)")
MINUS = "\N{MINUS SIGN}"


def label(tricks: dict[str, Json]) -> str:
    """Return ``baseline``, or the tricks in the catalogue's order, with those hyper-parameters that were changed.

    Tricks of plug-ins that are not loaded come last, with all that the record has of them.
    """
    return " + ".join(_trick_label(name, tricks[name], {}) for name in _ordered(tricks)) or "baseline"


def weights_label(name: str, weights: str) -> str:
    """Return ``name`` with the weight set that a row is of, unless it is the last weights."""
    return name if weights == LAST else f"{name} [{weights}]"


def preset_of(command: str) -> str:
    """Return the preset that a run's command names, an empty text without one."""
    found = PRESET.search(command)
    return found[1] if found else ""


def short_label(tricks: dict[str, Json], command: str, teacher: TeacherFacts | None = None) -> str:
    """Return the preset and what was changed of its tricks, as ``fast + mixup(alpha=0.4)``, if shorter than ``label``.

    The preset's tricks are those of its file as it is now. A teacher that is a run has its id, not its digest.
    """
    if teacher and teacher.run:
        tricks = {name: _with_run(params, teacher) for name, params in tricks.items()}
    names, preset = label(tricks), preset_of(command)
    known = _preset_tricks(preset, user_folders()) if preset else {}
    if not known:
        return names
    changed = [n for n in _ordered(tricks) if n not in known or _changed(n, tricks[n], known[n])]
    added = "".join(f" + {_trick_label(name, tricks[name], known.get(name, {}))}" for name in changed)
    dropped = "".join(f" {MINUS} {name}" for name in _ordered(known) if name not in tricks)
    return min(preset + added + dropped, names, key=len)


def _with_run(params: Values, teacher: TeacherFacts) -> Json:
    """Return hyper-parameters with the beginning of the teacher's id in place of the digest of its weights."""
    run = f"run:{str(teacher.run)[:SHORT_ID]}"
    return {key: run if value == teacher.digest else value for key, value in params.items()}


def _ordered(tricks: Iterable[str]) -> list[str]:
    order = _catalogue_order(tuple(families()))
    return sorted(tricks, key=lambda name: (order.get(name, len(order)), name))


@cache
def _catalogue_order(names: tuple[str, ...]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _trick_label(name: str, params: Values, known: Values) -> str:
    changed = [f"{key}={value}" for key, value in _changed(name, params, known).items()]
    return f"{name}({', '.join(changed)})" if changed else name


def _changed(name: str, params: Values, known: Values) -> Json:
    """Return the hyper-parameters that differ from ``known``, or from their defaults."""
    usual = {**({field.name: field.default for field in card(name).fields} if name in families() else {}), **known}
    resolved = {key for key, value in known.items() if value == "auto"}  # to what the machine has
    return {k: value for k, value in params.items() if k not in resolved and (k not in usual or value != usual[k])}


@cache
def _preset_tricks(name: str, folders: tuple[Path, ...]) -> dict[str, Json]:
    """Return the tricks of a preset with the hyper-parameters that its files set; none if there is no such file."""
    try:
        return _tricks_in(name)
    except (UserError, TypeError, AttributeError, ValueError, RecursionError):  # a file of the user's that is no preset
        return {}


def _tricks_in(name: str) -> dict[str, Json]:
    """Return the tricks of a preset's file and of the presets that it begins with, in the order of its defaults."""
    file = next((file for file in yaml_files("preset") if file.stem == name), None)
    found = (read_yaml(file) if file else None) or {}
    groups, made = set(families().values()), dict[str, Json]()
    for entry in found.get("defaults", []):
        if isinstance(entry, str):
            made |= {} if entry == "_self_" else _tricks_in(entry)
            continue
        for group, of in entry.items():
            if group.lstrip("/") in groups:
                made |= {trick: {} for trick in ([of] if isinstance(of, str) else of) if trick not in made}
    own = found.get("tricks", {})
    return {trick: {**params, **(own.get(trick) or {})} for trick, params in made.items()}
