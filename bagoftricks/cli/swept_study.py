"""A study as bot-sweep was asked for it. Loads neither Hydra nor torch."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bagoftricks.cli.sweep_arguments import Sweep
from bagoftricks.settings import Settings
from bagoftricks.store.json_fields import Json

if TYPE_CHECKING:
    from bagoftricks.store.store import Store
    from bagoftricks.study.arms import Arm
    from bagoftricks.study.lock import Lock


@dataclass(frozen=True)
class SweptStudy:
    """Study that a sweep is about: its arms, the overrides and settings of all runs, its name and facts, its store."""

    sweep: Sweep
    arms: "Sequence[Arm]"
    overrides: tuple[str, ...]
    about: Json  # facts for the table
    name: str
    base: "Settings"
    store: "Store"
    lock: "Lock | None" = None  # of a study that travelled

    @property
    def table_command(self) -> str:
        """Command that shows the table of the study."""
        store = [] if self.base.store == Settings.store else [f"store={self.store}"]
        return shlex.join(["bot-table", f"study={self.name}", *store])
