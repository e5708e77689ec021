"""Hydra's schema: the settings, and each trick's hyper-parameters under ``tricks.<name>``."""

import re
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from bagoftricks.cli.conf import conf_dir
from bagoftricks.settings import Settings
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import card


def register(arguments: list[str]) -> None:
    """Make the settings and the tricks that these arguments can mean known to Hydra.

    A schema costs a millisecond, so tricks that neither the arguments nor a preset names are left out, unless Hydra
    is to look for them itself (a glob, or shell completion).
    """
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    said = " ".join([*arguments, *(file.read_text(encoding="utf-8") for file in conf_dir().glob("preset/*.yaml"))])
    names = FAMILY_OF if re.search(r"glob\(|-sc\b|--shell-completion", said) else re.findall(r"\w+", said)
    for name in dict.fromkeys(names):
        if name in FAMILY_OF:
            found = card(name)
            store.store(group=found.family, name=name, node=found.schema(), package=f"tricks.{name}")


def to_settings(config: DictConfig) -> Settings:
    """Plain values; ranges are checked on the way. Nothing below the command line sees a DictConfig."""
    typed = OmegaConf.to_object(config)
    assert isinstance(typed, Settings)
    typed.tricks = {name: _plain(params) for name, params in typed.tricks.items()}
    return typed


def _plain(params: Any) -> dict[str, Any]:
    return dict(params) if isinstance(params, dict) else dict(vars(params))
