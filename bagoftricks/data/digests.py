"""Digests of files' contents, remembered by path, inode, size and times, so that each file is read once.

A change of a file's contents sets its time of change (ctime), which no program can set back as it can the time of
modification. A file that changed within the last two seconds is not remembered: a change that follows within one tick
of the file system's clock could not be told from it.
"""

import os
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from bagoftricks.data.containers import READ_BYTES, REGULAR, Span, file_facts, is_settled, span_blocks
from bagoftricks.data.known_files import KnownFiles
from bagoftricks.errors import printable
from bagoftricks.folders import cache_folder
from bagoftricks.system import lock

SIZE = 16  # bytes of a digest
NO_CONTENTS = bytes(SIZE)  # digest of a file that cannot be read: its decoder reports that
SILENT_SECONDS = 3.0  # seconds after which the reading is announced
READERS, TOGETHER = 8, 64  # threads, and files that one of them takes at a time
LEFT_SECONDS = 3600.0  # after which nobody writes a temporary file any more
MANY_FILES = 1000  # files that are recognised together
Memory = dict[bytes, bytes]  # digest of a place -> digests of the file's facts, and of its contents
Place = str | Span  # path of a file, or bytes in a container


@dataclass(frozen=True)
class Contents:
    """Digest of the contents of a file, and of its inode, size and times when it was read."""

    facts: bytes
    digest: bytes
    settled: bool  # a later change of the file has another time


UNREADABLE_CONTENTS = Contents(b"", NO_CONTENTS, settled=False)


def content_digests(places: Sequence[Place], memory: Path, warn: Callable[[str], object]) -> list[bytes]:
    """Return the digest of each image's bytes, from the file ``memory`` where it has them.

    ``warn`` gets a line if nothing can be remembered.
    """
    if len(places) < MANY_FILES or not all(isinstance(place, str) for place in places):
        return _each_digest(places, memory, warn)
    together = None
    with suppress(OSError, OverflowError):  # a file that is gone, or an inode's number beyond 63 bits
        together = KnownFiles(places, memory)  # type: ignore[arg-type]
    if together is not None and (kept := together.digests()) is not None:
        return kept
    found = _each_digest(places, memory, warn)
    if together is not None and NO_CONTENTS not in found and (file := together.kept(found)):
        with suppress(OSError):  # said already
            replace_file(*file)
    return found


def _each_digest(places: Sequence[Place], memory: Path, warn: Callable[[str], object]) -> list[bytes]:
    """Return the digest of each image's bytes, one by one."""
    found = _remembered(places, _read_memory(memory))
    if None not in found:
        return found  # type: ignore[return-value]
    with _alone(memory):
        known = _read_memory(memory)  # of another process that has just read the same files
        found = _remembered(places, known)
        missing = [place for place, digest in zip(places, found, strict=True) if digest is None]
        read: dict[Place, Contents] = {}
        try:
            read.update(_read_all(missing))
        finally:  # an interrupted process keeps what it has read
            _remember(memory, known, read, warn)
    return [digest or read[place].digest for place, digest in zip(places, found, strict=True)]


def memory_file(folder: str | Path) -> Path:
    """Return the file in the cache that remembers the digests of a folder's files."""
    return cache_folder() / "digests" / blake2b(os.fsencode(os.path.abspath(folder)), digest_size=8).hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of the cache folder, which appears whole or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield the name under which to write a file of the cache folder, which then appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(".*.tmp"):  # by a process that was killed
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=SIZE).digest()


def _name(place: Place) -> bytes:
    if isinstance(place, str):
        return _digest(os.fsencode(place if os.path.isabs(place) else os.path.abspath(place)))
    return _digest(os.fsencode(f"{place.container.path}\0{place.start} {place.stored} {place.deflated}"))


def _remembered(places: Sequence[Place], known: Memory) -> list[bytes | None]:
    """Return the digest of each image's bytes, None where they are new, were changed or cannot be read."""

    def one(place: Place) -> bytes | None:
        entry = known.get(_name(place), b"")
        with suppress(OSError):
            facts = entry and (file_facts(os.stat(place)) if isinstance(place, str) else place.container.facts)
            if entry and entry[:SIZE] == facts:
                return entry[SIZE:]
        return None

    return [one(place) for place in places]


def _read_all(places: Sequence[Place]) -> Iterator[tuple[Place, Contents]]:
    """Yield the contents of all images; say so once if that takes long."""
    begin, silent = time.monotonic(), True
    parts = [places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER)]
    with ThreadPoolExecutor(READERS) as readers:
        try:
            for part, contents in zip(parts, readers.map(lambda part: [_read(p) for p in part], parts), strict=True):
                yield from zip(part, contents, strict=True)
                if silent and time.monotonic() > begin + SILENT_SECONDS:
                    silent = False
                    print(f"reading {len(places):,} files once, to identify the data by its contents", file=sys.stderr)
        finally:
            readers.shutdown(cancel_futures=True)


def _read(place: Place) -> Contents:
    """Read an image's bytes; what cannot be read, or is in no regular file, has a digest of its own."""
    return _read_file(place) if isinstance(place, str) else _read_span(place)


def _read_file(path: str) -> Contents:
    digest = blake2b(digest_size=SIZE)
    try:
        with open(os.open(path, REGULAR), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return UNREADABLE_CONTENTS
            while block := file.read(READ_BYTES):
                digest.update(block)
    except OSError:
        return UNREADABLE_CONTENTS
    return Contents(file_facts(status), digest.digest(), is_settled(status.st_ctime_ns))


def _read_span(span: Span) -> Contents:
    digest = blake2b(digest_size=SIZE)
    try:
        for block in span_blocks(span):
            digest.update(block)
    except (OSError, ValueError):
        return UNREADABLE_CONTENTS
    return Contents(span.container.facts, digest.digest(), span.container.settled)


# --- what is remembered: a digest of all rows, then a row of three digests for each file ---


def _read_memory(path: Path) -> Memory:
    """Return what was remembered, nothing from a file that is missing or damaged."""
    try:
        data = path.read_bytes() if path.is_file() else b""  # a pipe would be waited for
    except OSError:
        return {}
    rows, width = data[SIZE:], 3 * SIZE
    if len(rows) % width or data[:SIZE] != _digest(rows):
        return {}
    return {data[at : at + SIZE]: data[at + SIZE : at + width] for at in range(SIZE, len(data), width)}


def _remember(path: Path, known: Memory, read: Mapping[Place, Contents], warn: Callable[[str], object]) -> None:
    fresh = {_name(place): found.facts + found.digest for place, found in read.items() if found.settled}
    if not fresh:
        return
    rows = b"".join(name + entry for name, entry in {**known, **fresh}.items())
    try:
        replace_file(path, _digest(rows) + rows)
    except OSError as error:
        warn(
            f"{printable(path.parent)} cannot be written ({error.strerror}): the files are read again at each start to "
            "identify the data; name another folder with the variable XDG_CACHE_HOME"
        )


@contextmanager
def _alone(memory: Path) -> Iterator[None]:
    """Let one process at a time read the files, as far as locks work here."""
    file: int | None = None
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(memory.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        lock(file)
    try:
        yield
    finally:
        if file is not None:
            os.close(file)
