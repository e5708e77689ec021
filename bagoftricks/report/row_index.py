"""Index of the rows of a large store, by which a query chooses some of them without reading all records.

It only chooses: each record that is shown is read whole. The cells of a record are those of its last reading as long as
its file and that of its metrics have the same inodes, sizes and times; a record that changed, is damaged or has just
been written is read each time. The index lies in the cache, and is made again where it is damaged or of other code.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bagoftricks.registry import Values
from bagoftricks.report.query import Query
from bagoftricks.report.rows import RunRow
from bagoftricks.report.store_index import (
    CLOCK_TICK,
    MANY_RUNS,
    RENEWED,
    Facts,
    IndexEntries,
    file_numbers,
    index_place,
    read_entries,
    write_entries,
)
from bagoftricks.report.table import record_rows
from bagoftricks.store.json_fields import SEAL
from bagoftricks.store.store import METRICS, RECORD, Store
from bagoftricks.store.typed import default_settings

NO_FILE = (0, 0, 0, 0)  # facts of a file that is not there


@dataclass(frozen=True)
class ChosenRows:
    """Rows that a query selects, of how many, of how many runs."""

    rows: list[RunRow]
    every_row: int
    every_run: int


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
    place = index_place(store, "rows")
    entries = _renewed(store, now, read_entries(place), place)
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
                metrics = file_numbers(os.stat(f"{entry.path}{os.sep}{METRICS}"))
            except OSError:
                metrics = NO_FILE
            found[entry.name] = *file_numbers(record), *metrics
    return found


def _renewed(store: Store, now: dict[str, Facts | None], known: IndexEntries, place: Path) -> IndexEntries:
    """Return the entries of all records as they are now, and keep them in the file ``place``."""
    began, stale = (
        time.time_ns(),
        [name for name, facts in now.items() if facts is None or known.facts.get(name) != facts],
    )
    gone = known.facts.keys() - now.keys()
    known.drop([*stale, *gone])
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
        write_entries(place, known, passing)
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
