"""Objects by key, as object storage has them: the small interface that stores beyond a folder are made of.

Keys are relative paths with ``/``. An object appears whole or not at all, and has a version that differs after each
change. ``put_if_absent`` and ``replace`` let one of several processes succeed, on any number of machines.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from bagoftricks.errors import StoreUnreachable
from bagoftricks.store.files import remove, temporary_name
from bagoftricks.system import lock

LONGEST = 255  # bytes, of what file systems take
CLOCK = ".clock"  # object that is written to read the server's clock
CLOCK_SECONDS = 600.0  # between two looks at it


class Version(NamedTuple):
    """Version of an object: its entity tag, and its generation where the server counts them."""

    tag: str
    generation: str | None = None


class Got(NamedTuple):
    """Contents of an object, its version, and the Unix time of its last change by the server's clock."""

    data: bytes
    version: Version
    modified: float


@dataclass(frozen=True)
class ListedObject:
    """Object in a listing."""

    key: str
    tag: str
    size: int
    modified: float  # Unix time by the server's clock


class Objects(Protocol):
    """Objects below one address. Every method raises StoreUnreachable where the server refuses or does not answer."""

    url: str

    def get(self, key: str) -> Got | None:
        """Return an object, None without one."""
        ...

    def download(self, key: str, path: Path) -> Version | None:
        """Write an object of any size into a file; return None without one."""
        ...

    def put(self, key: str, data: bytes) -> Version:
        """Write an object, over an earlier one if there is one."""
        ...

    def upload(self, key: str, path: Path) -> Version:
        """Do the same with a file of any size."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> Version | None:
        """Write a new object; return None if there is one of this key."""
        ...

    def replace(self, key: str, data: bytes, version: Version) -> Version | None:
        """Write an object over this version of it; return None if it has another one by now, or is gone."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        ...

    def list(self, folder: str = "") -> list[ListedObject]:
        """Return the objects in a folder and in those below it, by key."""
        ...


def safe_key(key: str) -> bool:
    """Return True if a key is a relative path that can only name a file inside the folder that it is put into."""
    parts = key.split("/")
    return all(
        part and not part.startswith(".") and part.isprintable() and "\\" not in part and len(part.encode()) <= LONGEST
        for part in parts
    )


class ServerClock:
    """Clock of the server, by which the age of an object is known on any machine."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.read: tuple[float, float] | None = None  # the server's time, and this process's monotonic one

    def now(self) -> float:
        """Return the server's Unix time; this machine's where nothing may be written."""
        if self.read is None or time.monotonic() - self.read[1] > CLOCK_SECONDS:
            try:
                self.objects.put(CLOCK, b"")
                found = self.objects.get(CLOCK)
            except StoreUnreachable:
                found = None
            if found is None:
                return time.time()
            self.read = found.modified, time.monotonic()
        return self.read[0] + time.monotonic() - self.read[1]


class FolderObjects:
    """Objects in a folder, which may be shared by machines whose file system has locks."""

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, f"file://{root}"

    def get(self, key: str) -> Got | None:
        with self._reach():
            try:
                with open(self.root / key, "rb") as file:
                    about = os.fstat(file.fileno())
                    return Got(file.read(), Version(_tag(about)), about.st_mtime)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def download(self, key: str, path: Path) -> Version | None:
        found = self.get(key)
        if found is None:
            return None
        path.write_bytes(found.data)
        return found.version

    def put(self, key: str, data: bytes) -> Version:
        with self._locked():
            return self._write(key, data)

    def upload(self, key: str, path: Path) -> Version:
        return self.put(key, path.read_bytes())

    def put_if_absent(self, key: str, data: bytes) -> Version | None:
        with self._locked():
            return None if (self.root / key).exists() else self._write(key, data)

    def replace(self, key: str, data: bytes, version: Version) -> Version | None:
        with self._locked():
            found = self.get(key)
            return self._write(key, data) if found is not None and found.version == version else None

    def delete(self, key: str) -> None:
        with self._locked():
            (self.root / key).unlink(missing_ok=True)

    def list(self, folder: str = "") -> list[ListedObject]:
        with self._reach():
            paths = [Path(base, name) for base, _, names in os.walk(self.root / folder) for name in names]
            found = []
            for path in paths:
                key = path.relative_to(self.root).as_posix()
                if safe_key(key) and path.is_file():
                    about = path.stat()
                    found.append(ListedObject(key, _tag(about), about.st_size, about.st_mtime))
            return sorted(found, key=lambda listed: listed.key)

    def _write(self, key: str, data: bytes) -> Version:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
            return Version(_tag(path.stat()))
        finally:
            remove(temporary)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time write."""
        with self._reach():
            self.root.mkdir(parents=True, exist_ok=True)
            with open(self.root / ".lock", "ab") as file:
                lock(file.fileno())
                yield

    @contextmanager
    def _reach(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnreachable(f"store={self.url}: {error.strerror or error}: name another folder") from error


def _tag(about: os.stat_result) -> str:
    return f"{about.st_ino}-{about.st_mtime_ns}-{about.st_size}"
