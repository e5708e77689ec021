"""TensorBoard: event files in a folder, for ``tensorboard --logdir``."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.registry import logger


@logger(name="tensorboard", package="tensorboard")
class TensorBoard(Logger):
    """Event files for TensorBoard, a folder per run, below the folder of its study."""

    repeats: ClassVar[str] = "later"  # they take the place of the earlier ones

    folder: str = "tensorboard"
    """folder of the event files"""

    def start(self, run: RunFacts) -> str:
        """Open the run's folder; hide what an earlier process logged after the step that the run goes on from."""
        from torch.utils.tensorboard import SummaryWriter

        known = sorted(Path(self.folder).glob(f"**/*{run.id}"))  # of whatever study it was then
        place = Path(self.folder, *([_safe(run.group)] if run.group else []), f"{_safe(run.label)[:60]} {run.id}")
        self.run, self.scores = run, dict[str, float]()
        self.writer: Any = SummaryWriter(str(known[0] if known else place), purge_step=run.done + 1)
        if run.done == 0:
            self.writer.add_text("settings", f"```json\n{json.dumps(run.config, indent=2)}\n```")
        return f"tensorboard --logdir {self.folder}"

    def log(self, step: int, figures: Figures) -> None:
        """Write a scalar for each figure."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        self.scores |= {name: value for name, value in figures.items() if name.startswith("val/")}
        self.writer.flush()

    def finish(self, outcome: str) -> None:
        """Write the outcome, and of a finished run its settings next to its last scores, for the HParams page."""
        self.writer.add_text("outcome", outcome, self.run.steps)
        if outcome == "done":
            scores = {f"final/{name.removeprefix('val/')}": value for name, value in self.scores.items()}
            self.writer.add_hparams(self.run.flat, scores, run_name=".", global_step=self.run.steps)
        self.writer.close()


def _safe(name: str) -> str:
    """Return a name that can be a folder's."""
    return re.sub(r"[^\w.+ -]+", "-", name)
