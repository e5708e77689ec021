"""A folder of runs: one subfolder each, plain files, every file written whole or not at all.

The folder may be a copy of objects elsewhere, which its place keeps in step with them (place.py).
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

from bagoftricks.errors import DamagedRecord, UserError
from bagoftricks.store.files import (
    is_there,
    note_once,
    open_regular,
    read_file,
    refuse_links,
    remove,
    remove_temporaries,
    temporary_name,
    write_whole,
)
from bagoftricks.store.json_fields import parse_json, sealed_text, unsealed
from bagoftricks.store.lease import LEASE, Lease, is_live
from bagoftricks.store.names import CORRECT as CORRECT
from bagoftricks.store.names import EVIDENCE as EVIDENCE
from bagoftricks.store.names import FAILURE as FAILURE
from bagoftricks.store.names import INTERRUPTED as INTERRUPTED
from bagoftricks.store.names import KEPT_STATE as KEPT_STATE
from bagoftricks.store.names import LOG as LOG
from bagoftricks.store.names import METRICS as METRICS
from bagoftricks.store.names import RECORD as RECORD
from bagoftricks.store.names import STUDIES as STUDIES
from bagoftricks.store.names import WEIGHTS as WEIGHTS
from bagoftricks.store.place import place_of
from bagoftricks.store.record import Record, read_record, record_text, safe_name
from bagoftricks.store.weight_sets import LAST

FAILURE_BYTES, METRICS_BYTES = 2**24, 2**26
STUDY_BYTES = 2**28  # the most of a study


MetricRows = Sequence[Mapping[str, object]]
Guard = Callable[[], object]  # raises where a file must not appear

NEAR = 5  # ids that an error lists
NEWEST = re.compile(r"last(?:~(\d{1,9}))?")  # in place of an id: the run whose record was written last, or N before it


class RunState(Enum):
    """State of a run."""

    MISSING = "missing"
    QUEUED = "queued"  # only an engine can tell
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNEVALUATED = "not evaluated"  # trained, but without the evaluation on corrupted images that is asked for


class Store:
    """The runs below one folder, or below one address of objects."""

    def __init__(self, root: str | Path) -> None:
        self.place = place_of(root)
        self.root = self.place.root
        self.damaged: list[str] = []  # what is wrong with records that were left out

    def __str__(self) -> str:
        return self.place.name

    def refresh(self) -> None:
        """Fetch what other machines changed."""
        self.place.pull()

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run. Raises UserError for an id or a link that would lead out of the store."""
        folder = self.root / safe_name(run_id, "run id")
        if folder.is_symlink():
            refuse_links(folder)
        return folder

    def record(self, run_id: str) -> Record | None:
        """Return the record of a finished run, or None."""
        self.place.pull(run_id)
        path = self.folder(run_id) / RECORD
        return self._read(path) if is_there(path) else None

    def state(self, run_id: str) -> RunState:
        """Return the state of the run, from the files in its folder. Raises UserError if one of them is a link."""
        folder = self.folder(run_id)
        self.place.pull(run_id)
        refuse_links(folder)
        if is_there(folder / RECORD):
            return RunState.DONE
        if is_live(folder / LEASE):
            return RunState.RUNNING
        if (folder / FAILURE).is_file():
            return RunState.FAILED
        return RunState.INTERRUPTED if (folder / INTERRUPTED).is_file() else RunState.MISSING

    def claim(self, run_id: str) -> Lease | None:
        """Return the lease of the run, or None while another live process has it.

        Raises UserError if something in its folder is a link, so that nothing is written or removed elsewhere.
        """
        self.folder(run_id)
        return self.place.claim(run_id)

    def shared(self, name: str) -> Path:
        """Return the folder ``name``, which all runs share. Raises UserError if it is a link."""
        self.place.pull(name)
        refuse_links(self.root / name)
        return self.root / name

    def failed(self, run_id: str) -> bool:
        """Return True if the run's folder has the mark of a failure."""
        return (self.folder(run_id) / FAILURE).is_file()

    def failure(self, run_id: str) -> dict[str, str]:
        """Return the first line of the error of a failed run, and its traceback."""
        try:
            found, _ = unsealed(parse_json(read_file(self.folder(run_id) / FAILURE, FAILURE_BYTES)))
            return {"error": str(found["error"]), "traceback": str(found["traceback"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {"error": "unknown: the failure could not be recorded", "traceback": ""}

    def mark_failed(self, run_id: str, error: str, trace: str) -> None:
        """Remember the first line of an error; on a full disk, at least that there was one, or print it."""
        first = error.partition("\n")[0]
        text = sealed_text({"error": first, "traceback": trace})
        path = self.folder(run_id) / FAILURE
        with self.place.owned(run_id) as ours:
            try:
                if ours:
                    write_whole(path, lambda path: path.write_text(text, encoding="utf-8"))
            except OSError:
                try:
                    path.touch()  # takes no room
                except OSError as why:
                    note_once(f"{path} cannot be written ({why.strerror}): the run failed: {first}")

    def mark_interrupted(self, run_id: str) -> None:
        with self.place.owned(run_id) as ours, suppress(OSError):  # the checkpoint is what counts
            if ours:
                (self.folder(run_id) / INTERRUPTED).touch()

    def clear_marks(self, run_id: str) -> None:
        """Forget an earlier failure or interruption."""
        with self.place.owned(run_id) as ours:
            for name in (FAILURE, INTERRUPTED) if ours else ():
                remove(self.folder(run_id) / name)

    def records(self) -> Iterator[Record]:
        """Yield every finished run's record by id; unreadable ones are named in ``damaged`` instead."""
        for path in self._recorded("bot-train makes it, or name another with store="):
            record, _ = self.sound_record(path)
            if record is not None:
                yield record

    def sound_record(self, path: Path) -> tuple[Record | None, bool]:
        """Return a record, and True if its metrics are what the run wrote; name an unreadable one in ``damaged``."""
        try:
            record = self._read(path)
        except UserError as error:  # damaged, or of a newer version
            self.damaged.append(str(error))
            return None, False
        with suppress(OSError):
            if (metrics := path.with_name(METRICS)).exists() and not is_intact(metrics, record):
                note_once(f"{metrics} is not what the run wrote, by its SHA-256 in {RECORD}, which is whole")
                return record, False
        return record, True

    def _read(self, path: Path) -> Record:
        """Return a record whose folder has the run's name."""
        if (record := read_record(path)).id != path.parent.name:
            raise DamagedRecord(f"{path} is the record of run {record.id}: a run's folder has the name of its id")
        return record

    def _recorded(self, instead: str) -> list[Path]:
        """Return the path of every record, readable or not."""
        self.refresh()
        try:
            folders = sorted(folder for folder in self.root.iterdir())
        except FileNotFoundError as error:
            raise UserError(f"store={self}: no such folder; {instead}") from error
        except OSError as error:
            raise UserError(f"store={self}: cannot be read ({error.strerror})") from error
        return [path for folder in folders if is_there(path := folder / RECORD)]

    def matching(self, prefix: str) -> list[str]:
        """Return the ids of the finished runs that begin with ``prefix``.

        For ``last``, that of the newest record; for ``last~2``, that of the second one before it.
        """
        newest = NEWEST.fullmatch(prefix)
        if newest is None:
            return [name for name in self._ids() if prefix and name.startswith(prefix)]
        by_time = sorted(self._ids(), key=lambda name: (self.folder(name) / RECORD).lstat().st_mtime_ns, reverse=True)
        return by_time[int(newest[1] or 0) :][:1]

    def _ids(self) -> list[str]:
        return [path.parent.name for path in self._recorded("name the folder of the records with store=")]

    def find(self, prefix: str, setting: str = "run") -> Record:
        """Return the record of the one finished run that ``prefix`` names, as ``matching`` does. Raises UserError.

        ``setting`` is the one that was typed.
        """
        ids = self._ids()
        found = self.matching(prefix)
        if len(found) == 1 or prefix in found:
            return self._read(self.folder(prefix if prefix in found else found[0]) / RECORD)
        if found:
            raise UserError(f"{setting}={prefix} is the start of {len(found)} ids: {listed(found)}; type more of it")
        near = get_close_matches(prefix, ids, n=NEAR, cutoff=0.3) or ids
        known = f"; there are {listed(near)}" if near else "; bot-train makes one"
        raise UserError(f"{setting}={prefix}: {self} has no finished run of this id{known} (bot-table lists them)")

    def weights(self, run_id: str, weight_set: str = LAST) -> Path:
        """Return the file of one weight set of a run."""
        name = safe_name(weight_set, "name of a weight set")
        return self._fetched(self.folder(run_id) / (WEIGHTS if name == LAST else f"{name}.{WEIGHTS}"))

    def kept_state(self, run_id: str) -> Path:
        """Return the file of the state that a longer run continues, if runtime.keep_state kept one."""
        return self._fetched(self.folder(run_id) / KEPT_STATE)

    def _fetched(self, path: Path) -> Path:
        self.place.fetch(path)
        return path

    def digests(self, run_id: str) -> dict[str, str]:
        """Return the SHA-256 of the files next to the record of a run, by their names."""
        folder = self.folder(run_id)
        found = [path for name in (METRICS, CORRECT, f"*{WEIGHTS}") for path in folder.glob(name)]
        return {path.name: sha256_of(path) for path in sorted(found)}

    def writable(self) -> None:
        """Refuse a store that cannot be written to before anything is trained for it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_temporaries(self.root, every=False)
            probe = temporary_name(self.root / "writable")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"store={self}: cannot be written to ({error.strerror}); name another folder") from error

    def write_metrics(self, run_id: str, rows: MetricRows, *, before: Guard | None = None) -> None:
        """Write one row per epoch and weight set; ``before`` as for ``write_whole``."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(
            self.folder(run_id) / METRICS, lambda path: path.write_text(text.getvalue(), newline=""), before=before
        )

    def write_record(self, record: Record, *, before: Guard | None = None) -> None:
        """Write the last file of a run, which marks it as finished."""
        text = record_text(record)
        path = self.folder(record.id) / RECORD
        write_whole(path, lambda path: path.write_text(text, encoding="utf-8"), before=before)
        self.push(record.id)

    def push(self, run_id: str) -> None:
        """Send what changed in the folder of a run, whose lease this process has, to where other machines read it."""
        self.place.push(run_id)


class ReadOnlyStore(Store):
    """A store that is read only, as by the ranks for which rank 0 writes."""

    def writable(self) -> None: ...

    def mark_failed(self, run_id: str, error: str, trace: str) -> None: ...

    def mark_interrupted(self, run_id: str) -> None: ...

    def clear_marks(self, run_id: str) -> None: ...

    def write_metrics(self, run_id: str, rows: MetricRows, *, before: Guard | None = None) -> None: ...

    def write_record(self, record: Record, *, before: Guard | None = None) -> None: ...

    def push(self, run_id: str) -> None: ...


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv as text, one for each evaluated weight set; none if it cannot be read."""
    try:
        return list(csv.DictReader(io.StringIO(read_file(path, METRICS_BYTES).decode())))
    except (OSError, ValueError, csv.Error):
        return []


def is_intact(path: Path, record: Record) -> bool:
    """Return True unless the record next to a file has another digest of it."""
    return record.files.get(path.name) in (None, sha256_of(path))


def require_intact(path: Path) -> None:
    """Raise UserError if a file next to a record is not the one that its run wrote; a file of elsewhere is accepted."""
    if not is_there(path.parent / RECORD):
        return
    try:
        record = read_record(path.parent / RECORD)
    except UserError as error:
        note_once(f"{error}: {path.name} cannot be checked")
        return
    if path.name.endswith(WEIGHTS) and path.name not in record.files:
        note_once(f"{path.parent / RECORD} has no digest of {path.name}: damage to it is not noticed")
    elif not is_intact(path, record):
        raise UserError(
            f"{path} is not what the run wrote, by its SHA-256 in {RECORD}: restore it, or train the run again with "
            "rerun=true"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def listed(ids: list[str]) -> str:
    """Return the first few ids as text."""
    return ", ".join(ids[:NEAR]) + (", ..." if len(ids) > NEAR else "")
