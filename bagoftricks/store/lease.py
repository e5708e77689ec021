"""Lease of a run: a file that only one process can create, kept alive by a heartbeat.

Two sweeps over one folder never train the same run, and the run of a dead process is taken over: at once when it died
on this host, after ``STALE_SECONDS`` without a heartbeat when it ran elsewhere. Plain files, so a shared folder is
enough.
"""

import json
import os
import platform
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bagoftricks.errors import RunElsewhere
from bagoftricks.store.json_fields import Json

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
LEASE = "lease.json"


class Lease:
    """The exclusive right to train one run. Use as a context manager: the heartbeat lasts as long as the block."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def held(self) -> bool:
        """Return True while the lease is ours: another process may have taken it over."""
        return (read(self.path) or {}).get("token") == self.token

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self.held():
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # taken over, or the folder is out of reach for a while: held() tells at the end
                os.utime(self.path)


class NullLease(Lease):
    """Lease of the other ranks of a run: rank 0 holds it for them."""

    def __init__(self) -> None: ...

    def held(self) -> bool:
        return True

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def claim(folder: Path) -> Lease | None:
    """Return the lease of the run in ``folder``, or None while another live process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LEASE
    seen = _bytes(path)
    if seen is not None and (_is_alive(seen, path) or not _clear(path, seen)):
        return None
    token = uuid.uuid4().hex
    text = json.dumps({"token": token, "host": host(), "pid": os.getpid(), "born": born(os.getpid())})
    prepared = folder / f".{LEASE}.{token}"
    try:
        prepared.write_text(text, encoding="utf-8")
        os.link(prepared, path)  # exclusive, and the file is complete from its first moment
    except FileExistsError:
        return None
    finally:
        prepared.unlink(missing_ok=True)
    return Lease(path, token)


def is_live(path: Path) -> bool:
    """Return True if the process that made this lease still works on its run."""
    seen = _bytes(path)
    return seen is not None and _is_alive(seen, path)


def _is_alive(lease: bytes, path: Path) -> bool:
    owner = _parse(lease)
    if owner is None:
        return False
    if owner.get("host") == host():
        return born(int(owner["pid"])) == owner.get("born")
    return age(path) < STALE_SECONDS


def read(path: Path) -> Json | None:
    """Return the owner's token, host and process; None without a lease."""
    return _parse(_bytes(path) or b"")


def _parse(lease: bytes) -> Json | None:
    try:
        found: Json = json.loads(lease)
    except ValueError:
        return None
    return found


def age(path: Path) -> float:
    """Seconds since the last heartbeat, by the clock of the folder's own file system."""
    probe = path.with_name(f".clock.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _clear(path: Path, dead: bytes) -> bool:
    """Remove the lease that was seen to be dead. Of several processes that try, the rename lets one succeed."""
    moved = path.with_name(f".{LEASE}.dead.{uuid.uuid4().hex}")
    try:
        os.rename(path, moved)
    except OSError:
        return False
    ours = _bytes(moved) == dead
    if not ours:  # a new owner came between: give it back
        with suppress(FileExistsError):
            os.link(moved, path)
    moved.unlink(missing_ok=True)
    return ours


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def host() -> str:
    """Return the machine and its space of process numbers: a container's numbers are its own."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{platform.node()}:{namespace}"


def born(pid: int) -> str | None:
    """Return the start of process ``pid``, which tells a reused number from the old one; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


def require_held(lease: Lease, name: str) -> None:
    """Raise RunElsewhere where another process has taken the run for dead, and over."""
    if not lease.held():
        raise RunElsewhere(f"run {name} was taken over by another process while this one did not answer")
