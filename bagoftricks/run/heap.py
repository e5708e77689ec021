"""Memory that the C library keeps for the next step instead of returning it to the system."""

import ctypes
import os
from collections.abc import Callable

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
KEPT, MAPPED = 2**31 - 1, 2**30  # bytes: kept at the end of the heap; of blocks that have a mapping of their own


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: the next step takes as much again, and each new page costs a page fault.

    By default, it maps a block above 32 MiB each time that it is taken. The environment's MALLOC_ settings go first;
    other C libraries are left alone.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    if mallopt := of_glibc("mallopt"):
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, MAPPED)


def return_freed_memory() -> None:
    """Let glibc return to the system what is free, between runs: the peak of the next one is then its own."""
    if trim := of_glibc("malloc_trim"):
        trim(0)


def of_glibc(name: str) -> Callable[..., object] | None:
    """Return a function of the C library, None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
