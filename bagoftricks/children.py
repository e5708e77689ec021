"""Child processes that do not run the caller's program again. Imports nothing heavy."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def program_hidden() -> Iterator[None]:
    """Start processes within the block without the program that this process runs.

    multiprocessing imports it again in each spawned or forkserver process, which trains again unless the program has
    an ``if __name__ == "__main__":``. Nothing that our children receive is defined in it.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program
