"""Temporary folders that are removed by others if their process was killed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bagoftricks.system import lock

LOCK = "lock"  # file in such a folder, which its process holds


@contextmanager
def scratch(base: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for the block; remove it, and those with the same prefix whose processes are gone."""
    remove_abandoned(base, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    try:
        with open(folder / "new", "wb") as file:
            with suppress(OSError):  # without locks, nobody removes what a killed process leaves
                lock(file.fileno())
                os.rename(folder / "new", folder / LOCK)  # one that is seen is held, as long as its process lives
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(base: Path, prefix: str) -> None:
    """Remove temporary folders whose processes are gone."""
    for path in base.glob(f"{prefix}*/{LOCK}"):
        with suppress(OSError), open(path, "rb+") as file:  # another user's cannot be opened
            lock(file.fileno(), wait=False)
            shutil.rmtree(path.parent, ignore_errors=True)
