"""Trackio: a local database for ``trackio show``, or a Space of Hugging Face."""

import sys
from typing import Any, Optional

from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.registry import logger


@logger(name="trackio", package="trackio")
class Trackio(Logger):
    """Trackio: a run whose name is our id, in the group of its study."""

    project: str = "bagoftricks"
    """project of the run"""
    space: Optional[str] = None  # noqa: UP045 (the spelling that OmegaConf reads)
    """Space of Hugging Face, as user/name; default: a database of this machine (TRACKIO_DIR)"""

    def start(self, run: RunFacts) -> str:
        """Start the run, or go on with it; keep Trackio's lines from standard output, which has the result alone."""
        import trackio

        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "trackio":
                vars(module)["print"] = lambda *args, **kwargs: None
        self.run: Any = trackio.init(
            self.project,
            name=run.id,
            group=run.group,
            space_id=self.space,
            config={**run.config, "label": run.label},
            resume="never" if run.again else "allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return f"trackio show --project {self.project}"

    def log(self, step: int, figures: Figures) -> None:
        """Send the figures of a step."""
        self.run.log(dict(figures), step=step)

    def finish(self, outcome: str) -> None:
        """Send the outcome, as an alert."""
        from trackio import AlertLevel

        self.run.alert(f"run {outcome}", level=AlertLevel.ERROR if outcome == "failed" else AlertLevel.INFO)
        self.run.finish()
