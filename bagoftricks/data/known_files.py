"""Digests of the contents of many files, kept together with all their inodes, sizes and times.

A large folder that has not changed is recognised in one comparison. The facts are taken before the contents are known,
so that a file which changes in between is not recognised the next time.
"""

import os
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from bagoftricks.data.containers import is_settled

WIDTH = 16  # bytes of a digest
PER_FILE = 4  # numbers of a file: inode, size, time of modification, time of change
KNOWN_BYTES = 2**34  # more is not what was kept


class KnownFiles:
    """All files of a split as they are now, and the file of the cache that has them as they were."""

    def __init__(self, paths: Sequence[str], memory: Path) -> None:
        """Read the facts of the files. Raises OSError, OverflowError where that cannot be done."""
        began = time.time_ns()
        self._names = _digest(os.fsencode("\0".join([_folder(paths), *paths])))
        place = os.path.abspath(os.path.commonpath([paths[0], paths[-1]]))
        self._path = memory.with_name(f"{memory.name}-{_digest(os.fsencode(place)).hex()[:16]}.files")
        self._facts, stat = array("q"), os.stat
        for path in paths:
            status = stat(path)
            self._facts.extend((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        self._settled = is_settled(max(self._facts[PER_FILE - 1 :: PER_FILE]), began)

    def digests(self) -> list[bytes] | None:
        """Return the digests of the contents, None unless these files are as they were when they were kept."""
        with suppress(OSError):
            if not self._path.is_file() or self._path.stat().st_size > KNOWN_BYTES:
                return None
            data, facts = self._path.read_bytes(), self._facts.tobytes()
            start = 2 * WIDTH + len(facts)
            whole = len(data) == start + len(self._facts) // PER_FILE * WIDTH and data[:WIDTH] == _digest(data[WIDTH:])
            if whole and data[WIDTH : 2 * WIDTH] == self._names and data[2 * WIDTH : start] == facts:
                return [data[at : at + WIDTH] for at in range(start, len(data), WIDTH)]
        return None

    def kept(self, digests: Sequence[bytes]) -> tuple[Path, bytes] | None:
        """Return the file to keep these digests in, and its bytes; None if a change could go unnoticed."""
        if not self._settled:
            return None
        data = self._names + self._facts.tobytes() + b"".join(digests)
        return self._path, _digest(data) + data


def _folder(paths: Sequence[str]) -> str:
    """Return the working folder, on which relative paths depend."""
    return "" if os.path.isabs(paths[0]) else os.getcwd()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=WIDTH).digest()
