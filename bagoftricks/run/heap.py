"""Memory that the C library keeps for the next step instead of returning it to the system."""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
KEPT, MAPPED = 2**31 - 1, 2**30  # bytes: kept at the end of the heap; of blocks that have a mapping of their own


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: the next step takes as much again, and each new page costs a page fault.

    By default, it maps a block above 32 MiB each time that it is taken. The environment's MALLOC_ settings go first;
    other C libraries are left alone.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, MAPPED)
