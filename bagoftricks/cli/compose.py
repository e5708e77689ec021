"""Compose settings without a Hydra application, for commands that make many runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bagoftricks.cli.arguments import normalise_arguments
from bagoftricks.cli.conf import conf_dir
from bagoftricks.cli.extend import hydra_arguments
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    from bagoftricks.settings import Settings


def compose_settings(overrides: Sequence[str]) -> "Settings":
    """Return the settings of these overrides, as typed on the command line. Raises Hydra's errors and ours."""
    from hydra import compose, initialize_config_dir

    from bagoftricks.cli.schema import register, to_settings

    if flag := next((override for override in overrides if override.startswith("-")), None):
        raise UserError(f"{flag}: has no meaning here: leave it out")
    arguments = normalise_arguments(list(overrides))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), own_config_store():
        register(arguments)
        return to_settings(compose("config", overrides=[*hydra_arguments(), *arguments]))


@contextmanager
def own_config_store() -> Iterator[None]:
    """Take back at the end what the block registers with Hydra: a program may have configurations of its own."""
    from hydra.core.config_store import ConfigStore

    def copied(group: dict[str, Any]) -> dict[str, Any]:
        return {name: copied(node) if isinstance(node, dict) else node for name, node in group.items()}

    store = ConfigStore.instance()
    before = copied(store.repo)
    try:
        yield
    finally:
        store.repo = before
