"""Lease of a run: a file that only one process can create, kept alive by a heartbeat.

Two sweeps over one folder never train the same run, and the run of a dead process is taken over: at once when it died
on this host, after ``STALE_SECONDS`` without a heartbeat when it ran elsewhere, or when its lease cannot be read. Plain
files, so a shared folder is enough.
"""

import errno
import json
import os
import platform
import sys
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bagoftricks.errors import RunElsewhere, UserError
from bagoftricks.store.files import TEMPORARY, note_once, read_file, remove, temporary_name
from bagoftricks.store.json_fields import Json

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
LEASE = "lease.json"
LEASE_BYTES = 4096
UNKNOWN = "unknown"  # start of a process where the system tells nothing of others
PROC = Path("/proc")
BOOT = Path("/proc/sys/kernel/random/boot_id")
NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Lease(ABC):
    """The exclusive right to train one run. Use as a context manager: the heartbeat lasts as long as the block."""

    took_over = False  # from a process that died

    def __init__(self, token: str, *, took_over: bool = False) -> None:
        self.token, self.took_over = token, took_over
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    @abstractmethod
    def held(self) -> bool:
        """Return True while the lease is ours: another process may have taken it over."""

    @abstractmethod
    def beat(self) -> None:
        """Show that its process lives. Where that fails for a while, ``held`` tells at the end."""

    @abstractmethod
    def remove(self) -> None:
        """Give a held lease up."""

    def finish(self) -> None:  # noqa: B027 (a folder has nothing to do)
        """Do what belongs to the end of the block, while the heart still beats."""

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        finally:
            self._stop.set()
            self._thread.join()
            if self.held():
                self.remove()

    def _keep_beating(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self.beat()


class FolderLease(Lease):
    """Lease that is a file in the folder of its run; its time of change is the heartbeat."""

    def __init__(self, path: Path, token: str, *, took_over: bool = False) -> None:
        super().__init__(token, took_over=took_over)
        self.path = path

    def held(self) -> bool:
        return (read(self.path) or {}).get("token") == self.token

    def beat(self) -> None:
        with suppress(OSError):  # taken over, or the folder is out of reach for a while
            os.utime(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class NullLease(Lease):
    """Lease of the other ranks of a run: rank 0 holds it for them."""

    def __init__(self) -> None: ...

    def held(self) -> bool:
        return True

    def beat(self) -> None: ...

    def remove(self) -> None: ...

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
    owner = this_process()
    made = _make(path, json.dumps(owner).encode())
    return FolderLease(path, owner["token"], took_over=seen is not None) if made else None


def this_process() -> Json:
    """Return what a new lease of this process holds."""
    return {"token": uuid.uuid4().hex, "host": host(), "pid": os.getpid(), "born": born(os.getpid())}


def _make(path: Path, lease: bytes) -> bool:
    """Make a lease, complete from its first moment; return False if there is one."""
    prepared = temporary_name(path)
    try:
        prepared.write_bytes(lease)
        return _link(prepared, path)
    finally:
        prepared.unlink(missing_ok=True)


def _link(prepared: Path, path: Path) -> bool:
    """Give a file the name of the lease; return False if another has it."""
    try:
        os.link(prepared, path)
    except (FileExistsError, FileNotFoundError):  # not found: the owner of a new lease has removed it
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        note_once(f"{path.parent.parent} has no hard links ({error.strerror}): leases are made without them")
        return _rename(prepared, path)
    return True


def _rename(prepared: Path, path: Path) -> bool:
    """Do the same without hard links: a second file, which only one process can make, guards the renaming."""
    guard = path.with_name(f".{LEASE}.guard.{TEMPORARY}")
    if os.path.lexists(guard) and age(guard) > STALE_SECONDS:  # its process was killed within these lines
        remove(guard)
    try:
        guard.open("xb").close()
    except FileExistsError:
        return False
    try:
        if os.path.lexists(path):
            return False
        os.rename(prepared, path)
        return True
    except FileNotFoundError:
        return False
    finally:
        guard.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Return True if the process that made this lease still works on its run."""
    seen = _bytes(path)
    return seen is not None and _is_alive(seen, path)


def _is_alive(lease: bytes, path: Path) -> bool:
    return is_alive(lease, f"{path}", lambda: age(path))


def is_alive(lease: bytes, name: str, age: Callable[[], float]) -> bool:
    """Return True if the process that made this lease still works, by its number here, elsewhere by the age."""
    owner = parse_lease(lease)
    if owner is None:
        note_once(f"{name} is damaged: it counts as none {STALE_SECONDS:.0f} seconds after its last change")
    elif owner["host"] == host() and owner["born"] != UNKNOWN:
        return bool(born(owner["pid"]) == owner["born"])
    return abs(age()) < STALE_SECONDS  # one from the future was made before the clock went back


def read(path: Path) -> Json | None:
    """Return the owner's token, host and process; None without a lease, and for a damaged one."""
    return parse_lease(_bytes(path) or b"")


def parse_lease(lease: bytes) -> Json | None:
    """Return what a lease holds, None for a damaged one."""
    try:
        found = json.loads(lease)
        texts = all(isinstance(found[name], str) for name in ("token", "host", "born"))
        return found if texts and type(found["pid"]) is int and found["pid"] > 0 else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def age(path: Path) -> float:
    """Seconds since the last heartbeat, by the clock of the folder's own file system."""
    probe = temporary_name(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - path.lstat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _clear(path: Path, dead: bytes) -> bool:
    """Remove the lease that was seen to be dead. Of several processes that try, the rename lets one succeed."""
    moved = temporary_name(path)
    try:
        os.rename(path, moved)
    except PermissionError as error:  # a run of somebody else's in a shared store: no process has it
        raise UserError(
            f"{path.parent}: you have no permission to write there (its owner, or umask 002, gives it)"
        ) from error
    except OSError:
        return False
    ours = _bytes(moved) == dead
    if not ours:  # a new owner came between: give it back
        with suppress(OSError):
            _link(moved, path)
    remove(moved)
    return ours


def _bytes(path: Path) -> bytes | None:
    """Return what a lease holds, nothing if that cannot be read; None without a lease."""
    try:
        return read_file(path, LEASE_BYTES)
    except FileNotFoundError:
        return None
    except OSError:
        return b"" if os.path.lexists(path) else None


def host() -> str:
    """Return the machine since it was started, and its space of process numbers: a container's numbers are its own."""
    boot, namespace = "", 0  # numbers and times of processes come again after a start, as of a virtual machine
    with suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino
        boot = BOOT.read_text(encoding="ascii").strip()
    return f"{platform.node()}:{namespace}:{boot}"


def born(pid: int) -> str | None:
    """Return the start of process ``pid``, which tells a reused number from the old one; None once it is gone.

    UNKNOWN where the system does not tell: the heartbeat shows then that it lives.
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if (PROC / "self/stat").exists():
        return None
    if sys.platform == "win32":  # there the next line would end the process
        return UNKNOWN
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return "alive"


def require_held(lease: Lease, name: str) -> None:
    """Raise RunElsewhere where another process has taken the run for dead, and over."""
    if not lease.held():
        raise RunElsewhere(f"run {name} was taken over by another process while this one did not answer")
