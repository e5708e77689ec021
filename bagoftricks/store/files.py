"""Files that appear whole or not at all."""

import errno
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
TEMPORARY = "tmp"  # last part of the name of a file that is not whole yet


def write_whole(path: Path, write: Callable[[Path], object], *, before: Callable[[], object] | None = None) -> None:
    """Let ``write`` fill a temporary file next to ``path``, flush it to disk, then rename it over ``path``.

    After a crash at any moment, ``path`` is what it was or what it was to become. ``before`` is called just before the
    renaming: what it raises stops it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.{TEMPORARY}")
    try:
        write(temporary)
        flush(temporary)
        if before is not None:
            before()
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left behind; nobody may be writing to ``folder``."""
    for path in folder.glob(f".*.{TEMPORARY}"):
        path.unlink(missing_ok=True)


def weights_writer(tensors: "Mapping[str, Tensor]", about: dict[str, str] | None = None) -> Callable[[Path], None]:
    """Return a writer of tensors, and texts about them, as safetensors: they load without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, about)

    return write
