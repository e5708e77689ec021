"""Overrides of a study's runs: what is typed for all of them, what an arm adds, and the command of one run."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bagoftricks.errors import UserError
from bagoftricks.plugins import extension_arguments, typed_text
from bagoftricks.run.precision import with_precision
from bagoftricks.settings import OVERRIDE, Settings
from bagoftricks.study.arms import Arm, Tricks
from bagoftricks.study.factors import typed_value
from bagoftricks.study.stages import INITIAL, TEACHER, RowSource
from bagoftricks.tricks.catalogue import families, family_of, hyper_parameter

if TYPE_CHECKING:
    pass


Compose = Callable[[Sequence[str]], Settings]  # overrides as typed on the command line -> settings
Parameter = tuple[str, str, Any]  # trick, hyper-parameter, value


def arm_settings(arm: Arm, overrides: Sequence[str], compose: Compose) -> Settings:
    """Return the settings of one arm alone, composed as for its runs."""
    plain, parameters = split_parameters(overrides)
    settings_only, own = split_parameters(arm.settings)
    base = compose(plain)
    tricks = with_parameters(arm.tricks, base, [*parameters, *own])
    if not settings_only:
        return with_tricks(base, tricks)
    return compose(latest([*plain, *trick_overrides(tricks, base), *settings_only]))


def latest(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those whose setting a later one gives: an arm's own go before the study's."""
    keys = [match["key"] if (match := OVERRIDE.fullmatch(override)) else "" for override in overrides]
    groups = families().values()  # their tricks add up
    return [override for i, override in enumerate(overrides) if keys[i] in groups or keys[i] not in keys[i + 1 :]]


def split_parameters(overrides: Sequence[str]) -> tuple[list[str], list[Parameter]]:
    """Apart from the others, overrides such as ``tricks.mixup.alpha=0.5``: they hold for arms that have the trick."""
    plain, parameters = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        words = key.split(".")
        if equals and len(words) == 3 and words[0] == "tricks":
            family_of(name := words[1])
            typed = typed_value(f"trick '{name}': ", hyper_parameter(name, words[2]), value)
            parameters.append((name, words[2], typed))
        else:
            plain.append(override)
    return plain, parameters


def with_parameters(tricks: Tricks, base: Settings, parameters: Sequence[Parameter]) -> dict[str, dict[str, object]]:
    """Return the arm's tricks with those hyper-parameters that belong to them, or to a trick that every arm has."""
    merged = {name: dict(params) for name, params in tricks.items()}
    for name, key, value in parameters:
        if name in merged or name in base.tricks:
            merged.setdefault(name, {})[key] = value
    return merged


def with_tricks(base: Settings, tricks: Tricks) -> Settings:
    """Return ``base`` with an arm's tricks on top; hyper-parameters that are given win.

    Raises UserError for a trick of the arm that this machine would leave out.
    """
    merged = {name: dict(params) for name, params in base.tricks.items()}
    for name, params in tricks.items():
        merged[name] = {**merged.get(name, {}), **params}
    chosen = with_precision(merged, base.runtime.device)
    if left_out := tricks.keys() - chosen.keys():
        name = min(left_out)
        raise UserError(
            f"tricks.{name}.dtype=auto: this processor has no instructions for bf16, so the arm would be the one "
            f"without it; type tricks.{name}.dtype=bf16 to emulate it"
        )
    return replace(base, tricks=chosen)


def with_source(composed: Settings, typed: Sequence[str], row: RowSource) -> tuple[Settings, list[str]]:
    """Return the settings of an arm, and its overrides, with the run of the row whose weights it needs."""
    words = [f"{row.key}={typed_text(row.source)}" if word.partition("=")[0] == row.key else word for word in typed]
    if row.key == INITIAL:
        return replace(composed, model=replace(composed.model, weights=row.source)), words
    tricks = {
        name: {**params, TEACHER: row.source} if params.get(TEACHER) == row.typed else params
        for name, params in composed.tricks.items()
    }
    return replace(composed, tricks=tricks), words


def trick_overrides(tricks: Tricks, base: Settings) -> list[str]:
    """Return an arm's tricks as typed over ``base``: ``+refine=[cosine,mixup]`` and ``tricks.mixup.alpha=0.5``."""
    families: dict[str, list[str]] = {}
    for name in tricks:
        if name not in base.tricks:
            families.setdefault(family_of(name), []).append(name)
    chosen = [f"+{family}=[{','.join(names)}]" for family, names in families.items()]
    return chosen + [
        f"tricks.{name}.{key}={typed_text(value)}" for name, params in tricks.items() for key, value in params.items()
    ]


def bot_train(overrides: Sequence[str]) -> str:
    return shlex.join(["bot-train", *overrides, *extension_arguments()])
