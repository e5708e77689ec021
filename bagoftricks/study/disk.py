"""Room on the disk that the runs of a plan will take, from folders of like runs or from the size of their networks."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bagoftricks.store.record import Record
from bagoftricks.store.store import Store
from bagoftricks.study.plan import PlannedRun, UnnamedRun

OTHER_FILES = 2**17  # bytes of a run besides its weights: the record, the log, what was right of each image
STATE = 3  # sizes of the weights in a checkpoint: themselves, the optimiser's momentum, an average
MOST_FOLDERS = 64  # of like runs that are measured


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that runs will take in a store, and those that are free there."""

    bytes: int  # kept at the end, and the checkpoints of the runs that are trained at a time
    free: int
    like_runs: int  # whose folders were measured; 0: estimated from the networks

    @property
    def fits(self) -> bool:
        """Return True if there is room for them."""
        return self.bytes < self.free


def disk_need(
    todo: Sequence[PlannedRun | UnnamedRun], like: Sequence[Record], store: Store, slots: int
) -> DiskNeed | None:
    """Return the room that the runs ``todo`` will take in the store; None if it is not known."""
    folders = [size for record in like[:MOST_FOLDERS] if (size := folder_bytes(store.folder(record.id)))]
    weights = [run.weights for run in todo if run.weights]
    if not folders and not weights:
        return None
    each = median(folders) if folders else sum(weights) / len(weights) + OTHER_FILES
    kept = max((run.settings.runtime.checkpoint_keep for run in todo), default=0)
    training = min(slots, len(todo)) * (kept + 1) * STATE * max(weights, default=0)
    return DiskNeed(round(each * len(todo) + training), free_bytes_of(store.root), len(folders))


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in a run's folder, 0 if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
    except OSError:
        return 0


def free_bytes_of(folder: Path) -> int:
    """Return the free bytes of the file system that a folder is in, or will be in."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    return shutil.disk_usage(there).free
