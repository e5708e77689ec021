"""Local copy of a store of objects, in the user's cache, kept in step with them.

Whoever has the lease of a run owns its folder here and sends what it becomes; everybody else's is a copy, which is
brought up to date before it is read. A record is sent last. What could not be sent stays, and is sent by the next
command.
"""

import os
import platform
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path

from bagoftricks.errors import RunElsewhere, StoreUnreachable, UserError
from bagoftricks.folders import cache_folder
from bagoftricks.store.checkpoint_header import FOLDER, SUFFIX
from bagoftricks.store.description import DESCRIPTION
from bagoftricks.store.files import note_once, refuse_links, temporary_name
from bagoftricks.store.lease import LEASE, Lease, host, parse_lease
from bagoftricks.store.names import FAILURE, INTERRUPTED, KEPT_STATE, RECORD, WEIGHTS
from bagoftricks.store.object_lease import ObjectLease, claim_object, lease_bytes
from bagoftricks.store.objects import ListedObject, Objects, ServerClock, safe_key
from bagoftricks.store.unit_files import Synced, UnitFiles, entry_of, place_file

EAGER_BYTES = 2**26  # more is fetched only where it is used
REQUESTS_AT_ONCE = 32  # requests
FRESH_SECONDS = 1.0  # in which a listing is not repeated, or longer where it takes long
WAITING_SECONDS, PAUSE_SECONDS = 600.0, 5.0  # that a run waits to begin for a server that is silent
REACHED_SECONDS = 3600.0  # in which it must have answered, else the address may be wrong
OF_THIS_MACHINE = ("teachers", "unfinished", "launcher")  # folders that are not sent
OUTCOMES = (RECORD, FAILURE, INTERRUPTED)

RemoteUnits = dict[str, dict[str, ListedObject]]  # unit -> name in it -> object


def mirror_folder(url: str) -> Path:
    """Return the folder of the copy of a store: one for each machine, since machines may share the user's cache."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url)[:60].strip("-.")
    return cache_folder() / "stores" / f"{name}-{sha256(f'{url} {platform.node()}'.encode()).hexdigest()[:10]}"


class Mirror:
    """Place of a store of objects."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self.objects, self.name = objects, objects.url
        self.root, self.state = folder / "runs", folder / "state"
        self.clock = ServerClock(objects)
        self.leases: dict[str, ObjectLease] = {}  # that this process has, by unit
        self.fresh: dict[str | None, float] = {}  # when a unit, or all of them (None), was brought up to date
        self.patience = FRESH_SECONDS
        self._sending = threading.RLock()
        try:
            for made in (self.root, self.state):
                made.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}), and the copy of {self.name} belongs there: name "
                "another folder with the variable XDG_CACHE_HOME"
            ) from error

    def files(self, unit: str) -> UnitFiles:
        """Return the files of one unit here."""
        return UnitFiles(self.root, self.state, unit)

    # --- from the objects to this machine ---

    def pull(self, unit: str | None = None) -> None:
        if unit in self.leases or unit in OF_THIS_MACHINE or self._is_fresh(unit):
            return
        began = time.monotonic()
        try:
            remote = self._listed(unit)
        except StoreUnreachable as error:
            if not (self.fresh or (unit is not None and self._was_reached())):
                raise
            note_once(f"{error}; until it answers, the copy in {self.root} is read")
            return
        self.patience = max(FRESH_SECONDS, 10 * (time.monotonic() - began))
        units = {*remote, *self._units_here()} if unit is None else {unit}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(lambda each: self._update(each, remote.get(each, {})), sorted(units)))
        self.fresh[unit] = began

    def _is_fresh(self, unit: str | None) -> bool:
        last = max(self.fresh.get(unit, -1e9), self.fresh.get(None, -1e9))
        return time.monotonic() - last < self.patience

    def _listed(self, unit: str | None) -> RemoteUnits:
        found: RemoteUnits = defaultdict(dict)
        objects = self.objects.list(unit or "")
        self._reached.touch()
        for listed in objects:
            folder, _, name = listed.key.partition("/")
            deep = "/" in name.removeprefix(f"{FOLDER}/")
            if name and not deep and folder not in OF_THIS_MACHINE and safe_key(listed.key):
                found[folder][name] = listed
        return found

    @property
    def _reached(self) -> Path:
        return self.state / "reached"

    def _was_reached(self) -> bool:
        """Return True if the server answered this machine not long ago, so that the address is right."""
        with suppress(OSError):
            return time.time() - self._reached.stat().st_mtime < REACHED_SECONDS
        return False

    def _units_here(self) -> Iterable[str]:
        return [name for name in os.listdir(self.root) if safe_key(name) and name not in OF_THIS_MACHINE]

    def _update(self, unit: str, remote: Mapping[str, ListedObject]) -> None:
        """Update the files of one unit, unless this machine works on it."""
        files = self.files(unit)
        if unit in self.leases or (files.begun.exists() and self._send_what_was_left(unit, remote)):
            return
        with files.locked() as ours:
            if ours:
                self._adopt(files, remote, is_small)
                self._show_lease(files, remote.get(LEASE))

    def _adopt(self, files: UnitFiles, remote: Mapping[str, ListedObject], wanted: Callable[[str, int], bool]) -> None:
        """Make the files equal to the objects, and fetch those that are wanted."""
        entries, here = files.entries(), files.files()
        before = dict(entries)
        for name in sorted(entries.keys() - remote.keys(), key=lambda name: name != RECORD):
            files.drop(name)
            del entries[name]
        for name, listed in sorted(remote.items(), key=lambda item: item[0] == RECORD):
            equal, asked = name in entries and entries[name].tag == listed.tag, wanted(name, listed.size)
            if name == LEASE or (equal and (name in here or not asked)):
                continue
            if not asked:
                files.drop(name)
                entries[name] = Synced(listed.tag)
            elif (tag := self._download(f"{files.unit}/{name}", files.folder / name, listed.modified)) is not None:
                entries[name] = entry_of(files.folder / name, tag)
        if entries != before:
            files.note(entries)

    def _download(self, key: str, path: Path, modified: float | None = None) -> str | None:
        """Write an object into a file, whole and as old as it is; return its tag, None if it is gone by now."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            version = self.objects.download(key, temporary)
            if version is not None:
                if modified is not None:
                    os.utime(temporary, (modified, modified))
                os.replace(temporary, path)
            return None if version is None else version.tag
        finally:
            temporary.unlink(missing_ok=True)

    def _show_lease(self, files: UnitFiles, listed: ListedObject | None) -> None:
        """Copy the lease of a run, as old as it is by the server's clock."""
        found = None if listed is None else self.objects.get(listed.key)
        if found is None:
            if os.path.lexists(files.folder / LEASE):
                files.drop(LEASE)
            return
        owner = parse_lease(found.data)
        elsewhere = owner is None or owner["host"] != host()
        age = self.clock.now() - found.modified if elsewhere else 0.0
        place_file(files.folder / LEASE, found.data, age=max(0.0, age))

    def fetch(self, path: Path) -> None:
        name = path.relative_to(self.root).as_posix()
        unit, _, inside = name.partition("/")
        if unit in self.leases or path.exists():
            return
        tag = self._download(name, path)
        files = self.files(unit)
        with files.locked() as ours:
            if tag is not None and ours:
                files.note(files.entries() | {inside: entry_of(path, tag)})

    # --- leases ---

    def claim(self, unit: str) -> Lease | None:
        until = time.monotonic() + WAITING_SECONDS
        while True:
            try:
                return self._claim(unit)
            except StoreUnreachable as error:
                if time.monotonic() > until or not self._was_reached():
                    raise
                note_once(f"{error}; run {unit} waits for it")
                time.sleep(PAUSE_SECONDS)

    def _claim(self, unit: str) -> Lease | None:
        files = self.files(unit)
        refuse_links(files.folder)
        descriptor = None if unit in self.leases else files.lock()
        if descriptor is None:
            return None
        try:
            lease = claim_object(self.objects, f"{unit}/{LEASE}", self.clock)
            if lease is None:
                self.fresh.clear()
                os.close(descriptor)
                return None
            files.begun.touch()
            self._take(files, lease)
        except BaseException:
            os.close(descriptor)
            raise
        lease.at_the_end = lambda: self._close(unit, descriptor)
        self.leases[unit] = lease
        return lease

    def _take(self, files: UnitFiles, lease: ObjectLease) -> None:
        """Update the folder of a claimed run, with its checkpoints if it is to be resumed."""
        try:
            remote = self._listed(files.unit).get(files.unit, {})
            if is_unsent(files) and RECORD in files.files() and RECORD not in remote:
                files.note({name: Synced("") for name in remote if name != LEASE})  # all of it is sent again
            else:
                resumed = RECORD not in remote
                self._adopt(files, remote, lambda name, size: is_small(name, size) or (resumed and is_checkpoint(name)))
            place_file(files.folder / LEASE, lease_bytes(lease.owner, 0))
        except BaseException:
            lease.remove()
            raise

    def _close(self, unit: str, descriptor: int) -> None:
        """Send the last changes of a run, and let others of this machine have it."""
        files, sent = self.files(unit), True
        try:
            sent = self._send(unit)
        except RunElsewhere:
            pass  # its files are another process's now
        finally:
            del self.leases[unit]
            if sent:
                files.begun.unlink(missing_ok=True)
            if os.path.lexists(files.folder / LEASE):
                files.drop(LEASE)
            os.close(descriptor)

    @contextmanager
    def owned(self, unit: str) -> Iterator[bool]:
        if unit in self.leases:
            yield True
            return
        try:
            lease = self._claim(unit)
        except StoreUnreachable:
            yield True
            return
        with lease or nullcontext():
            yield lease is not None

    # --- from this machine to the objects ---

    def push(self, unit: str) -> None:
        self._send(unit)

    def _send(self, unit: str) -> bool:
        """Send what changed; return False, and say so, if the server cannot be reached."""
        with self._sending:
            try:
                self._send_changes(self.files(unit), self.leases[unit])
            except StoreUnreachable as error:
                note_once(
                    f"{error}; run {unit} goes on: its files are in {self.root / unit}, and are sent as soon as the "
                    "server answers, at the latest by the next command with this store"
                )
                return False
            return True

    def _send_changes(self, files: UnitFiles, lease: ObjectLease) -> None:
        """Send the files that changed, the record last; remove what is gone. Raises RunElsewhere if it is another's."""
        entries, here = files.entries(), files.files()
        changed = [name for name, now in here.items() if name not in entries or entries[name][1:] != now[1:]]
        last_step = max((name for name in here if is_checkpoint(name)), default="")
        changed = [name for name in changed if not is_checkpoint(name) or name == last_step]
        gone = [name for name in entries if name not in here and self._is_gone(name, entries[name], here)]
        if not (changed or gone):
            return
        lease.confirm()
        try:
            first = [name for name in changed if name != RECORD]
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                for name, tag in pool.map(lambda name: (name, self._upload(files, name)), first):
                    entries[name] = here[name]._replace(tag=tag)
            if RECORD in changed:
                lease.confirm()
                new = entries.get(RECORD) is None
                entries[RECORD] = here[RECORD]._replace(tag=self._upload_record(files, new=new))
            for name in sorted(gone, key=lambda name: name != RECORD):
                self.objects.delete(f"{files.unit}/{name}")
                del entries[name]
        finally:
            files.note(entries)

    @staticmethod
    def _is_gone(name: str, entry: Synced, here: Mapping[str, Synced]) -> bool:
        """Return True for an object whose file was removed here, and for a checkpoint that a finished run has left."""
        finished = RECORD in here and DESCRIPTION not in here
        return entry.size is not None or entry.tag == "" or (finished and is_checkpoint(name))

    def _upload(self, files: UnitFiles, name: str) -> str:
        return self.objects.upload(f"{files.unit}/{name}", files.folder / name).tag

    def _upload_record(self, files: UnitFiles, *, new: bool) -> str:
        """Send the record. Raises RunElsewhere if there is another one by now."""
        key, data = f"{files.unit}/{RECORD}", (files.folder / RECORD).read_bytes()
        if not new:
            return self.objects.put(key, data).tag
        version = self.objects.put_if_absent(key, data)
        if version is None:
            found = self.objects.get(key)
            if found is None or found.data != data:  # else it was sent twice
                raise RunElsewhere(f"run {files.unit} was finished by another process meanwhile")
            version = found.version
        return version.tag

    def _send_what_was_left(self, unit: str, remote: Mapping[str, ListedObject]) -> bool:
        """Send how a run ended if that was not possible then; return True if its folder is to be left alone."""
        files = self.files(unit)
        if not is_unsent(files) or RECORD in remote:
            return False
        with suppress(StoreUnreachable):
            lease = self._claim(unit)
            if lease is not None:
                with lease:
                    note_once(f"run {unit} ended while {self.name} could not be reached: it is sent now")
        return True

    def publish(self, path: Path) -> None:
        unit, name = path.parent.name, path.name
        try:
            tag = self.objects.upload(f"{unit}/{name}", path).tag
        except StoreUnreachable as error:
            if not self.fresh:
                raise
            note_once(f"{error}; {path} could not be sent: type the same command again once it answers")
            return
        files = self.files(unit)
        with files.locked() as ours:
            if ours:
                files.note(files.entries() | {name: entry_of(path, tag)})

    def discard(self, unit: str) -> None:
        self.leases[unit].confirm()
        names = self._listed(unit).get(unit, {})
        for name in sorted(names, key=lambda name: name != RECORD):
            if name != LEASE:
                self.objects.delete(f"{unit}/{name}")
        self.files(unit).note({})


def is_checkpoint(name: str) -> bool:
    """Return True for the name of a checkpoint in the folder of a run."""
    return name.startswith(f"{FOLDER}/") and name.endswith(SUFFIX)


def is_small(name: str, size: int) -> bool:
    """Return True for what tables and reports read."""
    return size <= EAGER_BYTES and not (is_checkpoint(name) or name.endswith(WEIGHTS) or name == KEPT_STATE)


def is_unsent(files: UnitFiles) -> bool:
    """Return True if the run ended here, and the objects do not have that yet."""
    entries, here = files.entries(), files.files()
    return any(name in here and (name not in entries or entries[name][1:] != here[name][1:]) for name in OUTCOMES)
