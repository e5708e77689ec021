"""Files that appear whole or not at all, and readers that no other kind of file can hold up."""

import errno
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bagoftricks.errors import UserError, printable
from bagoftricks.system import NO_LINKS, NO_WAIT, NOT_INHERITED, lock

if TYPE_CHECKING:
    from torch import Tensor

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE)
OUT_OF_REACH = (*UNREADABLE, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EMFILE, errno.ENFILE)
TEMPORARY = "tmp"  # last part of the name of a file that is not whole yet
LEFTOVERS = (f".*.{TEMPORARY}", ".tmp*", ".lease.json.*", ".clock.*")  # the last three: of earlier versions
YOUNG_SECONDS = 2.0  # of a temporary file that its writer may not have locked yet
FLUSHES_FOLDERS = sys.platform != "win32"  # Windows opens no folder, and flushes what is open to be written
UNLOCKED_SECONDS = 3600.0  # of one that its writer cannot lock


def write_whole(path: Path, write: Callable[[Path], object], *, before: Callable[[], object] | None = None) -> None:
    """Let ``write`` fill a temporary file next to ``path``, flush it to disk, then rename it over ``path``.

    After a crash at any moment, ``path`` is what it was or what it was to become. ``before`` is called just before the
    renaming: what it raises stops it. An OSError names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with ExitStack() as writing:
            owned = writing.enter_context(open(temporary, "xb"))
            if _lock(owned.fileno()) is None:  # else for as long as its writer lives
                owned.close()  # Windows renames no open file
            write(temporary)
            flush(temporary)
            if before is not None:
                before()
            os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    remove_temporaries(path.parent, every=False)


def temporary_name(path: Path) -> Path:
    """Return a new name next to ``path`` for what is to become it, or was it."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{TEMPORARY}")


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if FLUSHES_FOLDERS:
        descriptor = os.open(path, os.O_RDONLY)
    elif path.is_dir():
        return
    else:
        descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file. Raises OSError for a link, a pipe, a folder, or more than ``limit`` bytes."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link", str(path))
    with open_regular(path, NO_LINKS) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes", str(path))
        return file.read()


def is_there(path: Path) -> bool:
    """Return True if anything has this name, or that cannot be told: whoever reads it reports why."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return True


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Open a regular file to read it. Raises OSError for a pipe, a device or a folder, which could be endless."""
    descriptor = os.open(path, os.O_RDONLY | NO_WAIT | NOT_INHERITED | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return open(descriptor, "rb")


def remove_temporaries(folder: Path, *, every: bool = True) -> None:
    """Remove what writers that were killed left in ``folder``.

    ``every``: nobody else may write there; without it, the files of writers that live are kept.
    """
    for path in temporaries(folder, every=every):
        remove(path)


def temporaries(folder: Path, *, every: bool = True) -> list[Path]:
    """Return what writers that were killed left in ``folder``; ``every`` as for ``remove_temporaries``."""
    found = [path for pattern in (LEFTOVERS if every else LEFTOVERS[:1]) for path in folder.glob(pattern)]
    return [path for path in found if every or not _has_writer(path)]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; do nothing if it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def total_size(path: Path) -> tuple[int, int]:
    """Return the number of files in a file or a folder, and their bytes. Follows no links."""
    inside = [os.path.join(base, name) for base, _, names in os.walk(path) for name in names]
    files = inside if path.is_dir() and not path.is_symlink() else [str(path)]
    sizes = [os.lstat(each).st_size for each in files if os.path.lexists(each)]
    return len(sizes), sum(sizes)


def _lock(descriptor: int) -> bool | None:
    """Return True if the file is ours alone now, None if its file system knows no locks."""
    try:
        lock(descriptor, wait=False)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _has_writer(temporary: Path) -> bool:
    """Return True if a process may still write this temporary file."""
    try:
        descriptor = os.open(temporary, os.O_RDONLY | NO_WAIT | NO_LINKS | NOT_INHERITED)
    except OSError:
        return True  # gone, or not ours
    try:
        age, free = time.time() - os.fstat(descriptor).st_mtime, _lock(descriptor)
    finally:
        os.close(descriptor)
    return age < (UNLOCKED_SECONDS if free is None else YOUNG_SECONDS) or free is False


def refuse_links(folder: Path) -> None:
    """Raise UserError if ``folder``, or anything in it, is a link."""
    inside = (Path(base, name) for base, *names in os.walk(folder) for name in (*names[0], *names[1]))
    for path in (folder, *([] if folder.is_symlink() else inside)):
        if path.is_symlink():
            raise UserError(
                f"{path} is a link, and what lies outside of a store is left alone: put there what the link names"
            )


@cache
def note_once(text: str) -> None:
    """Print a note on standard error, once in this process."""
    print(printable(f"bagoftricks: {text}"), file=sys.stderr)


def weights_writer(tensors: "Mapping[str, Tensor]", about: dict[str, str] | None = None) -> Callable[[Path], None]:
    """Return a writer of tensors, and texts about them, as safetensors: they load without executing anything."""

    def write(path: Path) -> None:
        from safetensors.torch import save  # save_file leaves temporary files of its own, and hides a full disk

        data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        path.write_bytes(save(data, about))

    return write
