"""File locks, flags and calls that not every operating system has: here is what stands in for them.

The only module that imports ``fcntl`` or ``resource``. Imports nothing heavy.
"""

import errno
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None  # type: ignore[no-redef]
try:
    import resource
except ImportError:
    resource: Any = None  # type: ignore[no-redef]

HAS_LOCKS = fcntl is not None
NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0)  # os.open raises OSError for a link
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)  # os.open waits for no writer of a pipe
NOT_INHERITED: int = getattr(os, "O_CLOEXEC", 0)
AS_IT_IS: int = getattr(os, "O_BINARY", 0)  # Windows would change the ends of lines


def lock(descriptor: int, *, wait: bool = True) -> None:
    """Lock an open file until it is closed. Raises BlockingIOError if another has it, OSError if there are no locks."""
    if not HAS_LOCKS:
        raise OSError(errno.ENOSYS, f"{sys.platform} has no locks of this kind")
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def locked_by_process(descriptor: int) -> Iterator[None]:
    """Lock an open file for the block, also against processes that were forked with it. Raises OSError as ``lock``."""
    if not HAS_LOCKS:
        raise OSError(errno.ENOSYS, f"{sys.platform} has no locks of this kind")
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def can_fork() -> bool:
    """Return True if a process can be a copy of this one."""
    return "fork" in multiprocessing.get_all_start_methods()


def read_at(descriptor: int, size: int, start: int) -> bytes:
    """Return at most ``size`` bytes of an open file from ``start`` on."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, start)
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, size)


def user_number() -> int:
    """Return the number of the user, 0 where users have none."""
    return os.getuid() if hasattr(os, "getuid") else 0


def peak_memory_bytes() -> int | None:
    """Return the peak of this process's resident set over its life; None where the system does not tell."""
    if resource is None:
        return None
    largest: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def physical_memory_bytes() -> int:
    """Return the memory of the machine; more than any has where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
