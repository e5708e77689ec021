"""Weights & Biases: online where the user is logged in, else in files for ``wandb sync``."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Optional

from bagoftricks.loggers.base import Figures, Logger, RunFacts
from bagoftricks.registry import logger
from bagoftricks.settings import choose


@logger(name="wandb", package="wandb")
class Wandb(Logger):
    """Weights & Biases: a run with our id, in the group of its study."""

    repeats: ClassVar[str] = "all"  # offline, a process that is killed loses up to 32 KiB

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
        self.last = max([0, self.run.step - 1, *([] if run.again else self._offline_steps(run.id))])
        if mode == "online":
            return str(self.run.url)
        return f"offline: wandb sync {os.path.dirname(self.run.dir)} uploads it"

    def log(self, step: int, figures: Figures) -> None:
        """Send the figures of a step, unless an earlier process did."""
        if step > self.last:
            self.run.log(dict(figures), step=step)

    def finish(self, outcome: str) -> None:
        """Mark the run as finished, or as failed with bot-train's exit status."""
        self.run.summary["outcome"] = outcome
        self.run.finish(exit_code={"done": 0, "interrupted": 75}.get(outcome, 1))

    def _offline_steps(self, run_id: str) -> Iterator[int]:
        """Yield the steps that earlier processes of the run have left in files."""
        from wandb.proto import wandb_internal_pb2 as messages

        for path in Path(self.folder, "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"):
            for text in log_records(path.read_bytes()):
                record: Any = vars(messages)["Record"].FromString(text)
                if record.HasField("history"):
                    yield int(record.history.step.num)


def log_records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a file of wandb's: LevelDB's log format (doc/log_format.md there) after seven bytes.

    Records are split over blocks of 32 KiB; a part has a checksum, its size, and 1 (whole), 2 (first), 3 or 4 (last).
    """
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        if left < 7:
            at += left
            continue
        if kind == 0 or at + 7 + size > len(data):  # what a killed process did not finish
            return
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield parts
            parts = b""
