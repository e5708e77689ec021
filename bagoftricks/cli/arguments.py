"""Check and tidy the command line before Hydra sees it: every silent mistake becomes one line, or is made to work.

Hydra accepts ``+twaek=resnet_d`` in silence, drops b from ``tweak=[a] +tweak=[b]`` and refuses ``+tweak=a +tweak=b``.
Imports neither Hydra nor torch.
"""

import re

from bagoftricks.cli.conf import YAML_GROUPS, groups, options
from bagoftricks.cli.text import is_text, quoted_text, setting_types
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import all_cards
from bagoftricks.settings import OVERRIDE
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import card, families, family_of

FLAGS_WITH_VALUE = {
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
}
FLAGS = {
    "--multirun",
    "-m",
    "--run",
    "-r",
    "--resolve",
    "--info",
    "-i",
    "--hydra-help",
}
INFO, INFO_ABOUT = {"--info", "-i"}, {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
PLAIN_LIST = re.compile(r"\[?[\w, ]*\]?")


def normalise_arguments(argv: list[str]) -> list[str]:
    """``argv`` as Hydra understands it. Raises UserError for what it would misunderstand."""
    multirun = bool({"-m", "--multirun"} & set(argv))
    overrides: list[str] = []
    flags: list[str] = []
    chosen: dict[str, list[tuple[str, str]]] = {}  # trick family -> (sign, value) of each time it was given
    left = list(argv)
    while left:
        argument = left.pop(0)
        if argument.startswith("-"):
            flags.append(_flag(argument))
            if left and (argument in FLAGS_WITH_VALUE or (argument in INFO and left[0] in INFO_ABOUT)):
                flags.append(left.pop(0))
            continue
        match = OVERRIDE.fullmatch(argument)
        sign, key, value = match.group("sign", "key", "value") if match else ("", "", None)
        if match is None or (value is None and sign != "~"):
            raise UserError(f"'{argument}' is not key=value{_meant(argument)}")
        sign = sign or ""
        if key in FAMILIES:
            _check_options(key, value, multirun)
            chosen.setdefault(key, []).append((sign, value or ""))
        elif key == "model" and value and "/" in value:
            overrides.extend(_network(value, multirun))
        elif key in YAML_GROUPS:
            _check_options(key, value, multirun)
            overrides.append(f"{key}={value}")
        else:
            overrides.append(_setting(sign, key, value, multirun))
    return [*overrides, *(_merge(family, given) for family, given in chosen.items()), *flags]


def _flag(argument: str) -> str:
    name = argument.partition("=")[0]
    if name not in FLAGS | FLAGS_WITH_VALUE:
        raise UserError(f"there is no flag {name}{did_you_mean(name, FLAGS | FLAGS_WITH_VALUE | {'--help'})}")
    return argument


def _merge(family: str, given: list[tuple[str, str]]) -> str:
    """Return one override for a family: ``+`` adds to the preset's tricks, a plain ``=`` anywhere replaces them."""
    sign = "" if any(sign == "" for sign, _ in given) else "+"
    if len(given) == 1:
        # Hydra replaces a preset's list by a list only, so a=b becomes a=[b]; each value of a sweep likewise.
        values = re.split(r",(?![^\[(]*[\])])", given[0][1])
        return f"{sign}{family}=" + ",".join(f"[{v}]" if re.fullmatch(r"\w+", v) else v for v in values)
    if not all(PLAIN_LIST.fullmatch(value) and (value.startswith("[") or "," not in value) for _, value in given):
        raise UserError(f"{family} is given {len(given)} times and swept: give it once, as -m '+{family}=[a],[a,b]'")
    names = dict.fromkeys(name for _, value in given for name in re.findall(r"\w+", value))
    return f"{sign}{family}=[{','.join(names)}]"


def _network(value: str, multirun: bool) -> list[str]:
    """``model=timm/resnet50d`` as an option and the library's name of it; those of a sweep are of one library."""
    if not multirun and _is_sweep(value):
        raise UserError(f"model={value} names several: type -m for one run each")
    pairs = [name.partition("/") for name in value.split(",")]
    libraries, names = {pair[0] for pair in pairs}, [pair[2] for pair in pairs]
    if len(libraries) > 1:
        raise UserError(f"model={value}: a sweep takes networks of one library, and no others; sweep them apart")
    known = sorted(
        name for name, found in all_cards("network").items() if any(f.name == "network" for f in found.fields)
    )
    if not libraries <= set(known):
        library = libraries.pop()
        meant = did_you_mean(library, known)
        raise UserError(f"model={value}: '{library}' is no library of networks{meant} ({', '.join(known)})")
    if not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        raise UserError(f"model={value}: type the library and its name of the network, as model=timm/resnet50d")
    return [f"model={libraries.pop()}", f"model.network={','.join(names)}"]


def _check_options(group: str, value: str | None, multirun: bool) -> None:
    if value is None or value in ("", "null"):
        raise UserError(f"{group} needs a value: one of {', '.join(options(group))}")
    if not multirun and _is_sweep(value):
        both = f"'+{group}=[{value}]' for all of them in one run, or " if group in FAMILIES else ""
        raise UserError(f"{group}={value} names several: type {both}-m for one run each")
    if re.search(r"\w\(", value):  # glob(...), choice(...): Hydra's to expand
        return
    for name in re.findall(r"[^\s,\[\]'\"]+", value):
        if name not in options(group):
            where = f"; it belongs to {families()[name]}: type +{families()[name]}={name}" if name in families() else ""
            meant = where or did_you_mean(name, options(group)) or _other_family(name, group)
            raise UserError(f"{group} has no option '{name}'{meant} ({', '.join(options(group))})")


def _is_sweep(value: str) -> bool:
    """Return True if there is a comma outside of brackets, parentheses and quotes."""
    return "," in re.sub(r"\[[^\]]*\]|\([^)]*\)|'[^']*'|\"[^\"]*\"", "", value)


def _other_family(name: str, group: str) -> str:
    if group not in FAMILIES:
        return ""
    meant = did_you_mean(name, families())
    near = re.search(r"'(\w+)'", meant)
    return f"{meant[:-1]} of {families()[near[1]]}?" if near else ""


def _setting(sign: str, key: str, value: str | None, multirun: bool) -> str:
    """Return the override of a setting or a hyper-parameter; drop a superfluous +, which would add an unchecked key."""
    rest = "" if value is None else f"={value}"
    top, _, below = key.partition(".")
    if top == "hydra" or key.startswith("hydra/"):
        return f"{sign}{key}{rest}"
    if top == "tricks" and below:
        name, _, field_name = below.partition(".")
        family_of(name)
        known = [field.name for field in card(name).fields]
        if field_name and field_name not in known:
            has = f"its hyper-parameters: {', '.join(known)}" if known else "it has no hyper-parameters"
            raise UserError(f"trick '{name}' has no '{field_name}'{did_you_mean(field_name, known)} ({has})")
        if not field_name and sign != "~":
            raise UserError(f"'{key}': type +{family_of(name)}={name} to switch it on, ~tricks.{name} to switch it off")
    elif key not in setting_types():
        raise UserError(f"there is no setting or group '{key}'{_meant(key, rest)}")
    if value is not None and sign != "~" and is_text(key):
        return f"{key}={quoted_text(key, value, multirun=multirun)}"
    if value is not None and not multirun and _is_sweep(value):
        raise UserError(f"{key}={value} names several values: type -m for one run each, or '{key}=[...]' for a list")
    return f"~{key}" if sign == "~" else f"{key}{rest}"


def _meant(word: str, rest: str = "") -> str:
    """Return what to type instead of an unknown key."""
    name = word.lstrip("+~").partition("=")[0]
    if name in families():
        return f": '{name}' is a trick, type +{families()[name]}={name}"
    candidates = [*groups(), *setting_types()]
    tails = {candidate.rpartition(".")[2]: candidate for candidate in candidates}
    near = did_you_mean(name, candidates) or did_you_mean(name, tails)
    found = re.search(r"'([\w.]+)'", near)
    if found and rest:
        full = tails.get(found[1], found[1])
        return f"; did you mean '{'+' if full in FAMILIES else ''}{full}{rest}'?"
    return near or did_you_mean(name, families()) or " (bot-train --help lists them)"
