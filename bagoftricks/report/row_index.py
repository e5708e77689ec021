"""Index of the rows of a large store, by which a query chooses some of them without reading all records.

It only chooses: each record that is shown is read whole. The cells of a record are those of its last reading as long as
its file and that of its metrics have the same inodes, sizes and times; a record that changed, is damaged or has just
been written is read each time. The index lies in the cache, and is made again where it is damaged or of other code.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bagoftricks.errors import UserError
from bagoftricks.folders import cache_folder, package_stamp
from bagoftricks.registry import Values
from bagoftricks.report.query import Query
from bagoftricks.report.rows import RunRow
from bagoftricks.report.table import record_rows
from bagoftricks.store.files import write_whole
from bagoftricks.store.json_fields import SEAL
from bagoftricks.store.store import METRICS, RECORD, Store
from bagoftricks.store.typed import default_settings

MANY_RUNS = 1000  # fewer are read as fast
CLOCK_TICK = 2 * 10**9  # nanoseconds of the coarsest clock of a file system
RENEWED = 100  # of as many records that were read again, one is reason enough to write the index anew
NO_FILE = (0, 0, 0, 0)  # facts of a file that is not there
Facts = tuple[int, ...]  # inode, size and times of a record and of its metrics


@dataclass(frozen=True)
class ChosenRows:
    """Rows that a query selects, of how many, of how many runs."""

    rows: list[RunRow]
    every_row: int
    every_run: int


@dataclass
class _Entries:
    """Cells of the rows of records by the names of their folders, in columns."""

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


def choose_rows(store: Store, query: Query, order: Sequence[str], by: Callable[[Values], Any]) -> ChosenRows | None:
    """Return the rows that a query selects; None where all records are to be read.

    Before the query sorts them, they are in the order of ``by`` of their cells, which reads the keys ``order``.
    """
    try:
        now = _facts(store)
    except OSError:  # whoever reads all records says why
        return None
    if len(now) < MANY_RUNS:
        return None
    place = cache_folder() / "rows" / blake2b(os.fsencode(os.path.abspath(store.root)), digest_size=16).hexdigest()
    known = _read(place)
    entries = _renewed(store, now, known, place)
    asked = dict.fromkeys([*(condition.key for condition in query.where), *(key.lstrip("-") for key in query.sort)])
    if asked.keys() - {*entries.columns, *default_settings()}:
        return None  # a mistake, for which all keys are listed
    columns = {key: entries.columns.get(key, [None] * entries.length) for key in (*order, *asked)}
    every = [
        (name, number, {key: column[at] for key, column in columns.items()})
        for name in sorted(entries.rows)
        for number, at in enumerate(entries.rows[name])
    ]
    every.sort(key=lambda row: by(row[2]))
    chosen = query.select(every, lambda row: row[2], default_settings())
    rows = _read_rows(store, [(name, number) for name, number, _ in chosen])
    return None if rows is None else ChosenRows(rows, len(every), len(entries.rows))


def _facts(store: Store) -> dict[str, Facts | None]:
    """Return the facts of all records by the names of their folders, None for one that is always read."""
    store.refresh()
    found: dict[str, Facts | None] = {}
    with os.scandir(store.root) as entries:
        for entry in entries:
            try:
                record = os.lstat(f"{entry.path}{os.sep}{RECORD}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                found[entry.name] = None
                continue
            try:
                metrics = _numbers(os.stat(f"{entry.path}{os.sep}{METRICS}"))
            except OSError:
                metrics = NO_FILE
            found[entry.name] = *_numbers(record), *metrics
    return found


def _numbers(status: os.stat_result) -> Facts:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _renewed(store: Store, now: dict[str, Facts | None], known: _Entries, place: Path) -> _Entries:
    """Return the entries of all records as they are now, and keep them in the file ``place``."""
    began, stale = (
        time.time_ns(),
        [name for name, facts in now.items() if facts is None or known.facts.get(name) != facts],
    )
    gone = known.facts.keys() - now.keys()
    for name in (*stale, *gone):
        known.facts.pop(name, None)
        known.rows.pop(name, None)
    lasting, passing = [], set[str]()
    for name in sorted(stale):
        record, whole = store.sound_record(store.root / name / RECORD)
        if record is None:
            continue
        facts = now[name]
        known.add(name, facts or (), [row.cells() for row in record_rows(record)])
        settled = facts is not None and max(facts[3], facts[7]) < began - CLOCK_TICK and _sealed(store, name)
        lasting.append(name) if whole and settled else passing.add(name)
    if (len(lasting) + len(gone)) * RENEWED > len(now):
        _write(place, known, passing)
    return known


def _sealed(store: Store, name: str) -> bool:
    """Return True if a record has a digest of its own: each reading of another one is noted."""
    return f'"{SEAL}": '.encode() in (store.root / name / RECORD).read_bytes()


def _read_rows(store: Store, chosen: Sequence[tuple[str, int]]) -> list[RunRow] | None:
    """Return rows by their records' folders and numbers, each record read whole; None if one has changed meanwhile."""
    read: dict[str, list[RunRow]] = {}
    for name in dict.fromkeys(name for name, _ in chosen):
        record, _ = store.sound_record(store.root / name / RECORD)
        read[name] = [] if record is None else record_rows(record)
    if any(number >= len(read[name]) for name, number in chosen):
        return None
    return [read[name][number] for name, number in chosen]


# --- the file: a digest, then the columns of all rows; a column of one value has it once ---


def _read(place: Path) -> _Entries:
    """Return the entries of the file, none from one that is missing, damaged or of other code."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        digest, _, data = place.read_bytes().partition(b"\n") if place.is_file() else (b"", b"", b"")
        if digest and digest == _digest(data):
            values = json.loads(data)
            if values["code"] == package_stamp():
                return _entries(values)
    return _Entries()


def _entries(values: dict[str, Any]) -> _Entries:
    found, width = _Entries(), 2 * len(NO_FILE)
    for at, (name, count) in enumerate(zip(values["names"], values["counts"], strict=True)):
        found.facts[name] = tuple(values["facts"][width * at : width * (at + 1)])
        found.rows[name] = range(found.length, found.length + count)
        found.length += count
    found.columns = {
        key: column * found.length if len(column) == 1 else column for key, column in values["cells"].items()
    }
    return found


def _write(place: Path, entries: _Entries, without: set[str]) -> None:
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
