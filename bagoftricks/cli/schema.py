"""Hydra's schema: the settings, and each trick's hyper-parameters under ``tricks.<name>``."""

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from bagoftricks.catalogue import cards
from bagoftricks.settings import Settings


def register() -> None:
    store = ConfigStore.instance()
    store.store(name="settings", node=Settings)
    for card in cards():
        store.store(group=card.family, name=card.name, node=card.schema(), package=f"tricks.{card.name}")


def to_settings(config: DictConfig) -> Settings:
    """Plain values; ranges are checked on the way. Nothing below the command line sees a DictConfig."""
    typed = OmegaConf.to_object(config)
    assert isinstance(typed, Settings)
    typed.tricks = {name: _plain(params) for name, params in typed.tricks.items()}
    return typed


def _plain(params: Any) -> dict[str, Any]:
    return dict(params) if isinstance(params, dict) else dict(vars(params))
