"""Place of a store: the folder in which its files are read and written, and what keeps other places in step with it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from bagoftricks.folders import ADDRESS, local_path
from bagoftricks.store.files import refuse_links
from bagoftricks.store.lease import Lease, claim


class StorePlace(Protocol):
    """Place of a store. ``unit`` is the name of a folder in its root: of a run, or one that all runs share."""

    root: Path
    name: str  # as it is typed

    def pull(self, unit: str | None = None) -> None:
        """Fetch the small files of a unit, or of all, that changed elsewhere, unless that was done a moment ago."""
        ...

    def fetch(self, path: Path) -> None:
        """Fetch one file, if it exists elsewhere only."""
        ...

    def claim(self, unit: str) -> Lease | None:
        """Return the lease of a run, or None while another live process has it."""
        ...

    def owned(self, unit: str) -> AbstractContextManager[bool]:
        """Take the run's lease for the block, where a change needs it; the value is False if another process has it."""
        ...

    def push(self, unit: str) -> None:
        """Send what changed in the folder of a run whose lease this process has."""
        ...

    def publish(self, path: Path) -> None:
        """Send one file of a unit that all runs share."""
        ...

    def discard(self, unit: str) -> None:
        """Remove a run, whose lease this process has, from elsewhere."""
        ...


class LocalPlace:
    """A folder of the file system: files are there at once for everybody who can see it."""

    def __init__(self, root: str | Path) -> None:
        self.root = local_path("store", root)
        self.name = str(self.root)

    def pull(self, unit: str | None = None) -> None: ...

    def fetch(self, path: Path) -> None: ...

    def claim(self, unit: str) -> Lease | None:
        refuse_links(self.root / unit)
        return claim(self.root / unit)

    @contextmanager
    def owned(self, unit: str) -> Iterator[bool]:
        yield True

    def push(self, unit: str) -> None: ...

    def publish(self, path: Path) -> None: ...

    def discard(self, unit: str) -> None: ...


def place_of(root: str | Path) -> StorePlace:
    """Return the place of a store: a folder, or a copy of objects in the user's cache."""
    if isinstance(root, str) and ADDRESS.match(root):
        return _mirror(root)
    return LocalPlace(root)


@cache
def _mirror(url: str) -> StorePlace:
    """Return the one copy of these objects in this process."""
    from bagoftricks.store.addresses import open_objects
    from bagoftricks.store.mirror import Mirror, mirror_folder

    return Mirror(open_objects(url), mirror_folder(url))
