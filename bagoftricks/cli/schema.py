"""Hydra's schema: the settings, and each trick's hyper-parameters under ``tricks.<name>``.

``data`` and ``model`` hold the fields of every data set and network, those of plug-ins too, so that Hydra knows each of
them; the fields of the chosen one are typed here, and another one's are refused.
"""

import re
from dataclasses import asdict, field, fields, make_dataclass
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from bagoftricks.cli.conf import CARDS
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import yaml_files
from bagoftricks.plugins import load_plugins
from bagoftricks.registry import Values, added_cards, all_cards, find_card, schema_field, shipped
from bagoftricks.run.precision import with_precision
from bagoftricks.settings import BASES, CHOSEN_BY, Settings
from bagoftricks.tricks.catalogue import card, families


def register(arguments: list[str]) -> None:
    """Register the settings and the tricks that these arguments can mean with Hydra.

    A schema costs a millisecond, so tricks that neither the arguments nor a preset names are left out, unless Hydra
    looks for them itself (a glob).
    """
    store = ConfigStore.instance()
    store.store(name="settings", node=settings_node())
    for group, of in CARDS.items():  # a YAML file of the same name goes first
        written = {file.stem for file in yaml_files(group)}
        for name in added_cards(of).keys() - written:
            store.store(group=group, name=name, node=option_node(of, name))
    said = " ".join([*arguments, *(file.read_text(encoding="utf-8") for file in yaml_files("preset"))])
    known = families()
    names = known if re.search(r"glob\(", said) else re.findall(r"\w+", said)
    for name in dict.fromkeys(names):
        if name in known:
            found = card(name)
            node = found.schema() if name in added_cards("trick") else shipped_trick(name)
            store.store(group=found.family, name=name, node=node, package=f"tricks.{name}")


@cache
def shipped_trick(name: str) -> DictConfig:
    """Return the hyper-parameters of a trick of this package. Hydra copies what it is given."""
    return OmegaConf.structured(shipped("trick")[name].schema())  # type: ignore[no-any-return]


def option_node(of: str, name: str) -> dict[str, str]:
    """Return the option of a group that chooses a plug-in's part by its name."""
    return {"protocol": name} if of == "protocol" else {CHOSEN_BY[of][1]: name, "name": name}


def settings_node() -> DictConfig:
    """Return the schema of all settings as a configuration: without parts of plug-ins it is made once."""
    return structured_settings() if any(map(added_cards, (*BASES, "logger"))) else shipped_settings()


@cache
def shipped_settings() -> DictConfig:
    """Return the schema of the settings of this package's parts. Hydra copies what it is given."""
    return structured_settings()


def structured_settings() -> DictConfig:
    """Return the schema of the settings of all parts that are registered now."""
    return OmegaConf.structured(settings_schema())  # type: ignore[no-any-return]


def settings_schema() -> type:
    """Return ``Settings`` with the fields of every data set and network; a field that was not typed is None."""
    groups = {CHOSEN_BY[of][0]: union_schema(of) for of in BASES} | {"loggers": loggers_schema()}
    made: list[tuple[str, Any, Any]] = [
        (f.name, groups[f.name], group_field(groups[f.name])) if f.name in groups else (f.name, f.type, f)
        for f in fields(Settings)
    ]
    return make_dataclass("Settings", made, kw_only=True)


def loggers_schema() -> type:
    """Return a group with the settings of every logger."""
    schemas = {card.name: card.schema() for card in all_cards("logger").values()}
    return make_dataclass("Loggers", [(name, schema, group_field(schema)) for name, schema in schemas.items()])


def group_field(group: type) -> Any:
    """Return a field that makes a group for each instance."""
    return field(default_factory=group)


def union_schema(of: str) -> type:
    """Return the shared fields of a group, and every one's own."""
    base = BASES[of]
    own = {f.name for card in all_cards(of).values() for f in card.fields}
    return make_dataclass(
        base.__name__, [schema_field(name, Any, None) for name in sorted(own)], bases=(base,), kw_only=True
    )


def to_settings(config: DictConfig) -> Settings:
    """Return plain values; ranges are checked on the way. Nothing below the command line sees a DictConfig."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    load_plugins(values["plugins"])
    for of, (group, key, default) in CHOSEN_BY.items():
        values[group] = typed_group(of, values[group], values[group].get(key) or default)
    values["loggers"] = chosen_loggers(values)
    values["tricks"] = with_precision(values["tricks"], values["runtime"]["device"])
    return Settings.of(values)


def chosen_loggers(values: Values) -> dict[str, Any]:
    """Return the settings of the loggers that are chosen. Raises UserError for a setting of another one."""
    for name, given in values["loggers"].items():
        defaults = asdict(find_card("logger", name).schema()())
        changed = [f"loggers.{name}.{key}={value}" for key, value in given.items() if value != defaults[key]]
        if changed and name not in values["logger"]:
            raise UserError(f"{changed[0]}: this logger is not chosen: add logger=[{name}]")
    return {name: values["loggers"][name] for name in values["logger"] if name in values["loggers"]}


def _owners(of: str, name: str) -> str:
    """Return what to type for a setting that only other data sets or networks have."""
    owners = [card.name for card in all_cards(of).values() if any(f.name == name for f in card.fields)]
    if of == "dataset" and len(owners) > 3:
        return f"; it is a setting of {len(owners)} data sets (--help data), such as data=imagefolder"
    if of == "dataset":
        return f"; it is a setting of {', '.join(owners)}: add data={owners[-1]}" if owners else ""
    if of == "task":
        return f"; it is a setting of {', '.join(owners)}: add task={owners[-1]}" if owners else ""
    return f"; it is a setting of networks of the kind {', '.join(owners)}: choose one with model=" if owners else ""


def typed_group(of: str, values: Values, chosen: str) -> dict[str, object]:
    """Return the fields of a data set or network, its own converted to their types. Raises UserError for another's."""
    group, card, base = CHOSEN_BY[of][0], find_card(of, chosen), BASES[of]
    shared = {f.name for f in fields(base)}
    own = {f.name: f for f in card.fields}
    given = {name: value for name, value in values.items() if name not in shared and value is not None}
    for name, value in given.items():
        if name not in own:
            has = f"its own settings: {', '.join(own)}" if own else "it has no settings of its own"
            typed = str(value).replace(" ", "")
            raise UserError(
                f"{group}.{name}={typed}: {chosen} has no '{name}'{did_you_mean(name, own)} ({has}){_owners(of, name)}"
            )
    of_card = card.schema()
    schema = make_dataclass("Group", [(group, of_card, group_field(of_card))])
    merged = OmegaConf.merge(OmegaConf.structured(schema), {group: given})
    of_kind: Any = OmegaConf.to_container(merged)
    return {**{name: values[name] for name in shared if name in values}, **{n: of_kind[group][n] for n in given}}
