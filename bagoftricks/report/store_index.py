"""Index of a large store: cells of what was read of its runs, by the facts of their files when that was done.

The file lies in the cache: a digest, then the columns of all rows; a column of one value has it once.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bagoftricks.errors import UserError
from bagoftricks.folders import cache_folder, package_stamp
from bagoftricks.registry import Values
from bagoftricks.store.files import write_whole
from bagoftricks.store.store import Store

MANY_RUNS = 1000  # fewer are read as fast
CLOCK_TICK = 2 * 10**9  # nanoseconds of the coarsest clock of a file system
RENEWED = 100  # of as many runs, one that was read again is reason enough to write the index anew
Facts = tuple[int, ...]  # inodes, sizes and times of files


@dataclass
class IndexEntries:
    """Cells of the rows of runs by the names of their folders, in columns."""

    facts: dict[str, Facts] = field(default_factory=dict)
    rows: dict[str, range] = field(default_factory=dict)  # places in the columns
    columns: dict[str, list[Any]] = field(default_factory=dict)
    length: int = 0

    def add(self, name: str, facts: Facts, cells: Sequence[Values]) -> None:
        self.facts[name], self.rows[name] = facts, range(self.length, self.length + len(cells))
        for key in {key for row in cells for key in row}.difference(self.columns):
            self.columns[key] = [None] * self.length
        self.length += len(cells)
        for key, column in self.columns.items():
            column += [row.get(key) for row in cells]

    def drop(self, names: Sequence[str]) -> None:
        """Forget runs; their cells are left out when the entries are written."""
        for name in names:
            self.facts.pop(name, None)
            self.rows.pop(name, None)


def file_numbers(status: os.stat_result) -> Facts:
    """Return the inode, the size and the times of a file."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def index_place(store: Store, kind: str) -> Path:
    """Return the file of an index of this store."""
    return cache_folder() / kind / blake2b(os.fsencode(os.path.abspath(store.root)), digest_size=16).hexdigest()


def read_entries(place: Path) -> IndexEntries:
    """Return the entries of the file, none from one that is missing, damaged or of other code."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        digest, _, data = place.read_bytes().partition(b"\n") if place.is_file() else (b"", b"", b"")
        if digest and digest == _digest(data):
            values = json.loads(data)
            if values["code"] == package_stamp():
                return _entries(values)
    return IndexEntries()


def _entries(values: dict[str, Any]) -> IndexEntries:
    found, width = IndexEntries(), len(values["facts"]) // max(1, len(values["names"]))
    for at, (name, count) in enumerate(zip(values["names"], values["counts"], strict=True)):
        found.facts[name] = tuple(values["facts"][width * at : width * (at + 1)])
        found.rows[name] = range(found.length, found.length + count)
        found.length += count
    found.columns = {
        key: column * found.length if len(column) == 1 else column for key, column in values["cells"].items()
    }
    return found


def write_entries(place: Path, entries: IndexEntries, without: set[str]) -> None:
    """Write the entries, but for those that are read each time."""
    names = [name for name in entries.rows if name not in without]
    places = [at for name in names for at in entries.rows[name]]
    cells = {key: [column[at] for at in places] for key, column in entries.columns.items()}
    values = {
        "code": package_stamp(),
        "names": names,
        "facts": [number for name in names for number in entries.facts[name]],
        "counts": [len(entries.rows[name]) for name in names],
        "cells": {key: column[:1] if _constant(column) else column for key, column in cells.items()},
    }
    with suppress(OSError, UserError, ValueError):  # a cache that cannot be written
        data = json.dumps(values, separators=(",", ":"), allow_nan=False).encode()
        write_whole(place, lambda path: path.write_bytes(_digest(data) + b"\n" + data))


def _constant(column: Sequence[Any]) -> bool:
    """Return True if a column has one value: the numbers 1, 1.0 and True are three."""
    return all(value == column[0] and type(value) is type(column[0]) for value in column)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).hexdigest().encode()
