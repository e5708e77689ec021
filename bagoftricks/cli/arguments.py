"""Check and tidy the command line before Hydra sees it: every silent mistake becomes one line, or is made to work.

Hydra accepts ``+twaek=resnet_d`` in silence, drops b from ``tweak=[a] +tweak=[b]`` and refuses ``+tweak=a +tweak=b``.
Imports neither Hydra nor torch.
"""

import re
from collections.abc import Iterable
from typing import get_args, get_origin

from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.conf import YAML_GROUPS, groups, options
from bagoftricks.cli.pages import own_settings
from bagoftricks.cli.text import is_text, quoted, quoted_text, setting_types, type_of
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
CFG = dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all"))
INFO, INFO_ABOUT = {"--info", "-i"}, {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
VALUES = {bool: "true or false", int: "a whole number", float: "a number"}
LONGEST_NUMBERS = 1000  # characters
SWEPT = re.compile(r"(choice|range|interval|glob|tag|sort|shuffle)\(")
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
            flags.append(_flag(argument, left))
            if left and (argument in FLAGS_WITH_VALUE or (argument in INFO and left[0] in INFO_ABOUT)):
                flags.append(left.pop(0))
            continue
        match = OVERRIDE.fullmatch(argument)
        sign, key, value = match.group("sign", "key", "value") if match else ("", "", None)
        if match is None or (value is None and sign != "~"):
            raise UserError(
                f"'{shortened(argument)}' is not key=value{_as_setting(argument, left) or _meant(argument)}"
            )
        sign = sign or ""
        if sign == "~" and (key in groups() or value is not None) and key != "hydra":
            raise UserError(
                f"'{shortened(argument)}': ~ takes back one trick or setting: type ~tricks.NAME or ~KEY alone"
            )
        if key in FAMILIES:
            chosen.setdefault(key, []).append((sign, _options_of(key, value, multirun)))
        elif key == "model" and value and "/" in value:
            overrides.extend(_network(value, multirun))
        elif key in YAML_GROUPS:
            overrides.append(f"{key}={_options_of(key, value, multirun)}")
        else:
            overrides.append(_setting(sign, key, value, multirun))
    return [*overrides, *(_merge(family, given) for family, given in chosen.items()), *flags]


def refuse_repeated(arguments: Iterable[str]) -> None:
    """Raise UserError for a setting that is typed twice with two values: the last one would win in silence."""
    typed: dict[str, str] = {}
    for argument in arguments:
        match = OVERRIDE.fullmatch(argument)
        if match is None or match["key"] in (*FAMILIES, "plugins"):  # these add up
            continue
        earlier = typed.setdefault(match["key"], argument)
        if earlier.lstrip("+") != argument.lstrip("+"):
            raise UserError(f"'{shortened(earlier)}' and '{shortened(argument)}' both set {match['key']}: drop one")


def shortened(argument: str) -> str:
    """Return an argument as an error quotes it, without the middle of a long one."""
    return argument if len(argument) <= 200 else f"{argument[:100]}...{argument[-20:]}"


def _flag(argument: str, left: list[str]) -> str:
    name, equals, value = argument.partition("=")
    if name not in FLAGS | FLAGS_WITH_VALUE:
        meant = _as_setting(argument.lstrip("-").replace("-", "_"), left)
        near = (
            did_you_mean(name, FLAGS | FLAGS_WITH_VALUE | {"--help"}) or "; settings are typed as key=value, epochs=3"
        )
        raise UserError(f"there is no flag {shortened(name)}{meant or near}")
    value = value if equals else left[0] if left else ""
    if name in FLAGS_WITH_VALUE and (not value or (name in CFG and value not in CFG[name])):
        raise UserError(f"{name} needs a value{': ' + ', '.join(CFG[name]) if name in CFG else ''}")
    if equals and name in FLAGS - INFO:
        raise UserError(f"{argument}: takes no value: type {name}")
    return argument


def _as_setting(argument: str, left: list[str]) -> str:
    """Return what to type for ``--epochs=3``, ``epochs 3`` and ``epochs:3``, an empty text for anything else."""
    match = re.fullmatch(r"([\w.]+)(?:[=: ](.*))?", argument, re.DOTALL)
    known = {*setting_types(), *groups()}
    if match is None or match[1] not in known:
        return ""
    value = match[2] if match[2] is not None else left[0] if left and "=" not in left[0] else "VALUE"
    return f": type {'+' if match[1] in FAMILIES else ''}{match[1]}={shortened(value)}"


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
    return [f"model={libraries.pop()}", f"model.network={','.join(map(quoted, names))}"]


def _options_of(group: str, value: str | None, multirun: bool) -> str:
    """Return the chosen options of a group as Hydra takes them: ``[a,b]`` of tricks, one of anything else."""
    names = list(dict.fromkeys(re.findall(r"[^\s,\[\]'\"]+", value or "")))
    if value is None or value == "null" or not (names or (group in FAMILIES and "[" in value)):
        raise UserError(f"{group} needs a value: one of {', '.join(options(group))}")
    _check_brackets(f"{group}={value}")
    if (not multirun and _is_sweep(value)) or (group not in FAMILIES and "[" in value):
        both = f"'+{group}=[{value}]' for all of them in one run, or " if group in FAMILIES else ""
        raise UserError(f"{group}={value} names several: type {both}-m for one run each")
    if re.search(r"\w\(", value):  # glob(...), choice(...): Hydra's to expand
        return value
    for name in names:
        if name not in options(group):
            where = f"; it belongs to {families()[name]}: type +{families()[name]}={name}" if name in families() else ""
            meant = where or did_you_mean(name, options(group)) or _other_family(name, group)
            raise UserError(f"{group} has no option '{name}'{meant} ({', '.join(options(group))})")
    return value if multirun else names[0] if group not in FAMILIES else f"[{','.join(names)}]"


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
    if value is not None:
        _check_brackets(f"{key}={value}")
        if not multirun and (found := SWEPT.match(value)):
            raise UserError(f"{key}={shortened(value)}: {found[1]} makes several runs: type -m as well")
        if not multirun and _is_sweep(value) and get_origin(type_of(key)) is not list:
            raise UserError(f"{key}={shortened(value)} names several values: type -m for one run each")
        _check_written(key, value, multirun)
    return f"~{key}" if sign == "~" else f"{key}{rest}"


def _check_written(key: str, value: str, multirun: bool) -> None:
    """Raise UserError for a value that cannot be a number, a truth value or a list of them, before Hydra parses it."""
    types, listed = (type_of(key), *get_args(type_of(key))), get_origin(type_of(key)) is list
    plain = r"[\w.+\-, ]*"
    written = r"[\w.+\-\[\], ():*='\"]+" if multirun else rf"\[{plain}\]|null" if listed else plain
    no_list = listed and multirun and "[" not in value and value != "null"
    if not value or no_list or len(value) > LONGEST_NUMBERS or not re.fullmatch(written, value, re.ASCII):
        kind = next((name for type_, name in VALUES.items() if type_ in types), "a value of the setting's type")
        raise UserError(f"{key}={shortened(value)}: must be {'a list, as [1,2]' if listed else kind}")


def _check_brackets(argument: str) -> None:
    """Raise UserError for a list without its end, as of an argument that the shell has taken apart."""
    if argument.count("[") != argument.count("]"):
        missing = "]" if argument.count("[") > argument.count("]") else "["
        raise UserError(
            f"{shortened(argument)}: a {missing} is missing: put the whole argument in quotes, as '+tweak=[a,b]'"
        )


def _meant(word: str, rest: str = "") -> str:
    """Return what to type instead of an unknown key."""
    name = word.lstrip("+~").partition("=")[0]
    if name in families():
        return f": '{name}' is a trick, type +{families()[name]}={name}"
    if name == "tricks":
        return ": type +GROUP=TRICK, as +refine=mixup"
    trick, _, parameter = ".".join(name.split(".")[-2:]).partition(".")
    if trick in families():
        return f"; did you mean 'tricks.{trick}.{parameter}{rest}'?"
    if owners := [program for program in COMMANDS if name in {field.name for field in own_settings(program)}]:
        return f": {name}= is for {' and '.join(owners)}"
    candidates = [*groups(), *setting_types()]
    tails = {candidate.rpartition(".")[2]: candidate for candidate in candidates}
    near = did_you_mean(name, candidates) or did_you_mean(name, tails)
    found = re.search(r"'([\w.]+)'", near)
    if found and rest:
        full = tails.get(found[1], found[1])
        return f"; did you mean '{'+' if full in FAMILIES else ''}{full}{rest}'?"
    return near or did_you_mean(name, families()) or " (bot-train --help lists them)"
