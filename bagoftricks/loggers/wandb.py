"""Weights & Biases: online where the user is logged in, else in files for ``wandb sync``."""

import os
from typing import Any, Optional

from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.registry import logger
from bagoftricks.settings import choose


@logger(name="wandb", package="wandb")
class Wandb(Logger):
    """Weights & Biases: a run with our id, in the group of its study."""

    project: str = "bagoftricks"
    """project of the run"""
    entity: Optional[str] = None  # noqa: UP045 (the spelling that OmegaConf reads)
    """user or team; default: that of the login"""
    mode: str = "auto"
    """online, offline (files for wandb sync), or auto: as WANDB_MODE says, else online after wandb login"""
    folder: str = "."
    """folder in which wandb/ is made"""

    def __post_init__(self) -> None:
        choose("loggers.wandb.mode", self.mode, ("auto", "online", "offline"))

    def start(self, run: RunFacts) -> str:
        """Start the run, or go on with it. The command line and the code are not sent: they may hold secrets."""
        import wandb

        mode: Any = self.mode
        if mode == "auto":
            logged_in = wandb.login(prompt=False, verify=False)
            mode = os.environ.get("WANDB_MODE") or ("online" if logged_in else "offline")
        quiet: dict[str, Any] = {
            "silent": True,
            "console": "off",
            "save_code": False,
            "disable_git": True,
            "x_disable_meta": True,
        }
        self.run: Any = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=mode,
            dir=self.folder,
            id=run.id,
            name=run.label,
            group=run.group,
            config=dict(run.config),
            resume=None if run.again else "allow",  # without it, a run of this id is overwritten
            reinit="create_new",
            settings=wandb.Settings(**quiet),
        )
        return (
            str(self.run.url) if mode == "online" else f"offline: wandb sync {os.path.dirname(self.run.dir)} uploads it"
        )

    def log(self, step: int, figures: Figures) -> None:
        """Send the figures of a step."""
        self.run.log(dict(figures), step=step)

    def finish(self, outcome: str) -> None:
        """Mark the run as finished, or as failed with bot-train's exit status."""
        self.run.summary["outcome"] = outcome
        self.run.finish(exit_code={"done": 0, "interrupted": 75}.get(outcome, 1))
