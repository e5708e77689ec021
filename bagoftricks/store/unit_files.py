"""Files of one unit in a local copy of objects, and what they were when they and the objects were last equal."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bagoftricks.errors import UserError
from bagoftricks.store.checkpoint_header import FOLDER
from bagoftricks.store.files import remove, temporary_name
from bagoftricks.store.json_fields import Json
from bagoftricks.store.lease import LEASE
from bagoftricks.store.objects import safe_key
from bagoftricks.system import HAS_LOCKS, NOT_INHERITED, lock


class Synced(NamedTuple):
    """Object that was seen, and the file here that equals it: none if ``size`` is None."""

    tag: str
    size: int | None = None
    changed: int | None = None  # time of the file's last change, in nanoseconds


@dataclass(frozen=True)
class UnitFiles:
    """Folder of one unit below ``root``; ``state`` holds what is known of it, and who has it on this machine."""

    root: Path
    state: Path
    unit: str

    @property
    def folder(self) -> Path:
        return self.root / self.unit

    @property
    def begun(self) -> Path:
        """Mark of a unit whose changes may not have been sent."""
        return self.state / f"{self.unit}.begun"

    def entries(self) -> dict[str, Synced]:
        """Return what was equal, by name; nothing if that is unknown, so that objects are fetched again."""
        try:
            found: Json = json.loads(self._entries.read_bytes())
            return {name: Synced(str(tag), size, changed) for name, (tag, size, changed) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def note(self, entries: dict[str, Synced]) -> None:
        """Write down what is equal now."""
        if entries:
            place_file(self._entries, json.dumps(entries).encode())
        else:
            self._entries.unlink(missing_ok=True)

    @property
    def _entries(self) -> Path:
        return self.state / f"{self.unit}.json"

    def files(self) -> dict[str, Synced]:
        """Return the files that belong to the unit, by name, with an empty tag; no temporary ones, and no lease."""
        found = {}
        for prefix in ("", f"{FOLDER}/"):
            with suppress(OSError), os.scandir(self.folder / prefix) as inside:
                for entry in inside:
                    if entry.is_file(follow_symlinks=False) and safe_key(entry.name) and entry.name != LEASE:
                        about = entry.stat(follow_symlinks=False)
                        found[prefix + entry.name] = Synced("", about.st_size, about.st_mtime_ns)
        return found

    def drop(self, name: str) -> None:
        """Remove a file, and a folder that is empty without it."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        for folder in (path.parent, self.folder):
            with suppress(OSError):  # not empty
                folder.rmdir()

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Yield True if no other thread or process of this machine has the unit; keep it for the block."""
        held = self.lock()
        try:
            yield held is not None
        finally:
            if held is not None:
                os.close(held)

    def lock(self) -> int | None:
        """Return the descriptor that keeps the unit until it is closed; None if another has it."""
        if not HAS_LOCKS:
            raise UserError(f"store= in a bucket needs file locks, which {sys.platform} does not have: type a folder")
        descriptor = os.open(self.state / f"{self.unit}.lock", os.O_RDWR | os.O_CREAT | NOT_INHERITED, 0o600)
        try:
            lock(descriptor, wait=False)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def forget(self) -> None:
        """Remove the files here."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.note({})


def place_file(path: Path, data: bytes, *, age: float | None = None) -> None:
    """Write a small file whole, ``age`` seconds old; what is lost in a crash is fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        if age is not None:
            then = temporary.stat().st_mtime - age
            os.utime(temporary, (then, then))
        os.replace(temporary, path)
    finally:
        remove(temporary)


def entry_of(path: Path, tag: str) -> Synced:
    """Return the entry of a file that equals the object with this tag."""
    about = path.lstat()
    return Synced(tag, about.st_size, about.st_mtime_ns)
