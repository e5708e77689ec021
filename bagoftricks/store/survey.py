"""Survey of a store: every run in it with its state, also what is interrupted, failed, damaged or left over.

Reads plain files and loads no torch.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from itertools import pairwise
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.store.checkpoint_header import FOLDER, steps_in
from bagoftricks.store.description import DESCRIPTION, RunDescription, describe_record, find_description
from bagoftricks.store.lease import LEASE, is_live, read
from bagoftricks.store.record import Record, read_record
from bagoftricks.store.store import FAILURE, INTERRUPTED, NEWEST, RECORD, Store, listed

RUN_ID = re.compile(r"[0-9a-f]{8,40}")
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
OF_A_RUN = {RECORD, LEASE, FAILURE, DESCRIPTION}  # files that make any folder a run's
SHORT_ID = 8  # characters of an id in a table, or more where two begin alike
SILENT = "its process ended without a word"


class FolderState(Enum):
    """State of a run's folder."""

    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    LEFTOVER = "leftover"  # files of a run that is neither finished nor resumable
    DAMAGED = "damaged"  # a record that cannot be read, or a link


@dataclass(frozen=True)
class Owner:
    """Process that has a run, or had it."""

    host: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class SurveyedRun:
    """One run of a store: its state, and what is known of it."""

    id: str
    folder: Path
    state: FolderState
    changed: float  # Unix time: of the record, of the start of a running one, of the last file of another
    why: str = ""  # it is in this state, or what else is to be known, in one line
    record: Record | None = None
    description: RunDescription | None = None  # also of a finished run
    owner: Owner | None = None


def survey(store: Store) -> Iterator[SurveyedRun]:
    """Yield each run of the store by id. Raises UserError if the store cannot be read."""
    for name in run_names(store):
        yield survey_run(store, name)


def run_names(store: Store) -> list[str]:
    """Return the names of the folders that are a run's, or links in the place of one, in order."""
    store.refresh()
    try:
        with os.scandir(store.root) as entries:
            return sorted(entry.name for entry in entries if _is_run(entry))
    except FileNotFoundError as error:
        raise UserError(f"store={store}: no such folder; bot-train makes it, or name another") from error
    except OSError as error:
        raise UserError(f"store={store}: cannot be read ({error.strerror})") from error


def _is_run(entry: "os.DirEntry[str]") -> bool:
    if RUN_ID.fullmatch(entry.name):
        return entry.is_symlink() or entry.is_dir(follow_symlinks=False)
    if not SAFE_NAME.fullmatch(entry.name) or not entry.is_dir():
        return False
    try:
        return bool(OF_A_RUN & set(os.listdir(entry.path)))
    except OSError:
        return False


def survey_run(store: Store, name: str) -> SurveyedRun:
    """Return the state of the run in the folder ``name``."""
    folder = store.root / name
    run = SurveyedRun(id=name, folder=folder, state=FolderState.DAMAGED, changed=_modified(folder))
    if folder.is_symlink():
        return replace(run, why="it is a link, and what lies outside of a store is left alone")
    try:
        files = set(os.listdir(folder))
    except OSError as error:
        return replace(run, why=f"it cannot be read ({error.strerror})")
    live = LEASE in files and is_live(folder / LEASE)
    if LEASE in files:
        run = replace(run, owner=_owner(folder / LEASE))
    return _recorded(store, run, files, live) if RECORD in files else _unfinished(store, run, files, live)


def _unfinished(store: Store, run: SurveyedRun, files: set[str], live: bool) -> SurveyedRun:
    """Return a run without a record."""
    description = find_description(run.folder)
    run = replace(run, description=description, changed=_last_change(run.folder, files))
    if live:
        began = _seconds(description.date) if description else None
        who = f"process {run.owner.pid}" if run.owner else ""
        return replace(run, state=FolderState.RUNNING, changed=began or run.changed, why=who)
    if FAILURE in files:
        return replace(run, state=FolderState.FAILED, why=store.failure(run.id)["error"])
    if INTERRUPTED in files:
        return replace(run, state=FolderState.INTERRUPTED)
    if DESCRIPTION in files or steps_in(run.folder / FOLDER):
        return replace(run, state=FolderState.INTERRUPTED, why=SILENT)
    return replace(run, state=FolderState.LEFTOVER, why="it has neither a record nor a checkpoint")


def _recorded(store: Store, run: SurveyedRun, files: set[str], live: bool) -> SurveyedRun:
    """Return a run that has a record. It may be trained again or evaluated at the moment, or that may have failed."""
    path = run.folder / RECORD
    run = replace(run, changed=_modified(path), owner=run.owner if live else None)
    try:
        if (record := read_record(path)).id != run.id:
            raise UserError(f"{path} is the record of run {record.id}")
    except UserError as error:
        return replace(run, why=f"{error}")
    again, why = "trained again" if DESCRIPTION in files else "evaluated", ""
    if live:
        why = f"it is being {again} now"
    elif FAILURE in files:
        why = f"when it was {again}, it failed: {store.failure(run.id)['error']}"
    elif INTERRUPTED in files:
        why = f"when it was {again}, it was interrupted"
    changed = _seconds(record.environment.date) or run.changed
    about = describe_record(record)
    return replace(run, state=FolderState.FINISHED, changed=changed, why=why, record=record, description=about)


def find_run(store: Store, prefix: str) -> SurveyedRun:
    """Return the one run whose id begins with ``prefix``, in any state; for ``last``, that of the newest record.

    Raises UserError with the ids that are meant, or the nearest ones.
    """
    ids = run_names(store)
    newest = NEWEST.fullmatch(prefix)
    found = store.matching(prefix) if newest else [name for name in ids if prefix and name.startswith(prefix)]
    if len(found) == 1 or prefix in found:
        return survey_run(store, prefix if prefix in found else found[0])
    if found:
        raise UserError(f"{prefix} is the start of {len(found)} ids: {listed(found)}; type more of it")
    near = get_close_matches(prefix, ids, n=5, cutoff=0.3) or ids
    known = f"; there are {listed(near)}" if near else "; bot-train makes one"
    raise UserError(f"{prefix}: store={store} has no run of this id{known} (bot-runs lists them)")


def shortest_prefixes(ids: list[str], least: int = SHORT_ID) -> dict[str, str]:
    """Return for each id its shortest beginning, of ``least`` characters or more, that no other id has."""
    ordered = sorted(ids)
    found = dict.fromkeys(ordered, least)
    for one, two in pairwise(ordered):
        shared = next((at for at, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), len(one))
        found[one], found[two] = max(found[one], shared + 1), max(found[two], shared + 1)
    return {name: name[:length] for name, length in found.items()}


def _owner(path: Path) -> Owner | None:
    found = read(path)
    return None if found is None else Owner(str(found["host"]).partition(":")[0], found["pid"])


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _last_change(folder: Path, files: set[str]) -> float:
    """Return the time of the last change of the run's files and checkpoints."""
    inside = [folder / FOLDER / f"{step:09}.safetensors" for step in steps_in(folder / FOLDER)[-1:]]
    times = [_modified(path) for path in (*(folder / name for name in files), *inside)]
    return max(times, default=_modified(folder))


def _seconds(date: str | None) -> float | None:
    """Return the Unix time of a date as ISO 8601, None without one."""
    try:
        return None if date is None else datetime.fromisoformat(date).timestamp()
    except ValueError:
        return None
