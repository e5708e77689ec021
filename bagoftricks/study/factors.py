"""Factors: what a list of tricks names. Nothing here runs or imports a trick.

An entry of the list is a trick as it is typed, ``mixup`` or ``mixup(alpha=0.5, partner=batch)``, or several joined by
"+", which are then switched on and off together. A setting as it is typed, ``epochs=16`` or ``model=resnet9``, is an
entry like a trick: effects by budget, network or data set are those of one factor among others. In designs that cross
their factors, alternatives are joined by "|": ``mixup|cutmix`` is one factor, which is off or one of the two.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple, get_args, get_origin

from bagoftricks.errors import UserError
from bagoftricks.plugins import split_items, split_list, typed_text
from bagoftricks.registry import HyperParameter, Values
from bagoftricks.study.arms import CROSSED, SELECTING, Arm, Tricks
from bagoftricks.tricks.catalogue import card, family_of, hyper_parameter

APART = ("one_at_a_time", "arms", *SELECTING)  # designs that put no two entries in one arm if they share a trick
NO_TRICKS: Tricks = MappingProxyType({})
BASELINE = "baseline"

TRICK = re.compile(r"(?P<name>\w+)\s*(?:\((?P<params>[^()]*)\))?")
PLUS, BAR = (re.compile(rf"\{sign}(?![^(]*\))") for sign in "+|")  # not the + in mixup(alpha=1e+2)


SETTING = re.compile(r"(?P<key>[A-Za-z_][\w.]*)\s*=\s*(?P<value>[^\s=].*)", re.DOTALL)


class Level(NamedTuple):
    """Tricks and settings that a design switches on and off as one."""

    label: str
    tricks: dict[str, Values]
    settings: tuple[str, ...] = ()

    @property
    def effective(self) -> tuple[dict[str, Values], tuple[str, ...]]:
        """The tricks with every hyper-parameter: ``mixup`` and ``mixup(alpha=0.2)`` are one level."""
        tricks: dict[str, Values] = {
            name: {**{f.name: f.default for f in card(name).fields}, **given} for name, given in self.tricks.items()
        }
        return tricks, self.settings

    @property
    def names(self) -> list[str]:
        """Tricks, and keys of settings, that no other factor of an arm may have."""
        return [*self.tricks, *(setting.partition("=")[0] for setting in self.settings)]


def level_arm(label: str, levels: Iterable[Level], base: Tricks = NO_TRICKS, compare_to: str | None = None) -> Arm:
    """Return the arm that has these levels on, over the tricks of ``base``."""
    levels = list(levels)
    tricks = {name: dict(params) for part in (base, *(of.tricks for of in levels)) for name, params in part.items()}
    settings = tuple(setting for level in levels for setting in level.settings)
    return Arm(label=label, tricks=tricks, settings=settings, compare_to=compare_to)


Factor = tuple[Level, ...]  # its levels next to "off": one, or several alternatives


def factor_levels(tricks: Sequence[str]) -> list[list[str]]:
    """Return the labels of each factor's levels next to "off", which arms of crossed factors name in ``on``."""
    return [[level.label for level in read_factor(entry)] for entry in tricks]


def factor_label(labels: Sequence[str]) -> str:
    """Return the label of a factor, by those of its levels."""
    return " | ".join(labels)


def parse_trick(text: str) -> tuple[str, Values]:
    """``"mixup(alpha=0.5)"`` as ``("mixup", {"alpha": 0.5})``, values in the types that the trick declares."""
    match = TRICK.fullmatch(text.strip())
    if match is None:
        raise UserError(f"'{text}' is no trick; write it as mixup or as mixup(alpha=0.5,partner=batch)")
    name, given = match["name"], (match["params"] or "").strip()
    family_of(name)
    params: dict[str, object] = {}
    for pair in split_items(given):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value):
            raise UserError(f"trick '{name}': '{pair.strip()}' sets no hyper-parameter; write key=value")
        field = hyper_parameter(name, key)
        if key in params:
            raise UserError(f"trick '{name}': hyper-parameter '{key}' is given twice; drop one")
        params[key] = typed_value(f"trick '{name}': ", field, value)
    return name, params


KINDS_OF_VALUES = {int: "a whole number", float: "a number", bool: "true or false"}


def typed_value(owner: str, field: HyperParameter, text: str) -> Any:
    """``text`` in the type of the field: a run with alpha=1 is the run with alpha=1.0, as on the command line."""
    kinds = get_args(field.type) or (field.type,)
    if str not in kinds and type(None) in kinds and text.lower() in ("null", "none", "~"):
        return None

    def convert(text: str) -> Any:
        return {"true": True, "false": False}[text.lower()] if bool in kinds else kinds[0](text)

    try:
        return [convert(item) for item in split_list(text)] if get_origin(field.type) is list else convert(text)
    except (KeyError, ValueError):
        kind = KINDS_OF_VALUES.get(kinds[0], kinds[0].__name__)
        usual = "" if field.default is None else f"; its default is {typed_text(field.default)}"
        raise UserError(f"{owner}{field.name}={text}: must be {kind}{usual}") from None


def _trick_label(name: str, params: Values) -> str:
    given = ", ".join(f"{key}={typed_text(value)}" for key, value in params.items())
    return f"{name}({given})" if given else name


def read_level(entry: str) -> Level:
    """Return the trick or the tricks of an entry without alternatives."""
    tricks: dict[str, Values] = {}
    settings: list[str] = []
    for text in PLUS.split(entry):
        if setting := SETTING.fullmatch(text.strip()):
            settings.append(f"{setting['key']}={setting['value']}")
            continue
        name, params = parse_trick(text)
        if name in tricks:
            raise UserError(f"trick '{name}' is given twice in '{entry}'; drop one")
        tricks[name] = params
    labels = [*(_trick_label(name, params) for name, params in tricks.items()), *settings]
    return Level(" + ".join(labels), tricks, tuple(settings))


def read_factor(entry: str) -> Factor:
    """Return the alternatives of one entry of the list."""
    levels = tuple(map(read_level, BAR.split(entry)))
    for one, other in combinations(levels, 2):
        _require_different(one, other)
    return levels


def read_factors(design: str, entries: Sequence[str], base: Tricks) -> list[Factor]:
    """Return the entries of the list, none twice and none in the base already."""
    if not entries:
        raise UserError(f"the design '{design}' needs tricks and was given none; list some, as in mixup,cosine")
    factors: list[Factor] = []
    for entry in entries:
        is_baseline = design == "arms" and entry.strip() == BASELINE
        factor = (Level(BASELINE, {}),) if is_baseline else read_factor(entry)
        if len(factor) > 1 and design not in CROSSED:
            listed = ",".join(part for entry in entries for part in BAR.split(entry))
            why = "alternatives are levels of a factor, in the designs factorial and fractional"
            raise UserError(f"'{entry}': {why}; type design=one_at_a_time 'tricks=[{listed}]'")
        for level in factor:
            if in_base := [name for name in level.tricks if name in base]:
                why = "is in every arm already, as a part of the base"
                raise UserError(f"trick '{in_base[0]}' {why}; drop one of the two")
            for other in (other for earlier in factors for other in earlier):
                _check_pair(design, other, level)
        factors.append(factor)
    return factors


def _require_different(first: Level, second: Level) -> None:
    if first.effective == second.effective:
        same = "" if first.label == second.label else f" (as '{first.label}', which is the same)"
        raise UserError(f"'{second.label}' is given twice{same}; drop one")


def _check_pair(design: str, first: Level, second: Level) -> None:
    """Raise UserError unless two entries make different arms, and fit into one where the design puts them together."""
    _require_different(first, second)
    shared = [name for name in second.names if name in first.names]
    if shared and design not in APART:
        why = f"an arm of the design '{design}' would hold both '{first.label}' and '{second.label}'"
        way_out = f"make them one factor, '{first.label}|{second.label}'" if design in CROSSED else "drop one"
        what = "trick" if shared[0] in second.tricks else "setting"
        raise UserError(f"{what} '{shared[0]}' is given twice: {why}; {way_out}, or compare them with one_at_a_time")
