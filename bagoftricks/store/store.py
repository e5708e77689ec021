"""A folder of runs: one subfolder each, plain files, every file written whole or not at all."""

import csv
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from bagoftricks.errors import DamagedRecord, UserError
from bagoftricks.store.files import write_whole
from bagoftricks.store.lease import LEASE, Lease, claim, is_live

RECORD, METRICS, WEIGHTS = "record.json", "metrics.csv", "weights.safetensors"
FAILURE, INTERRUPTED = "failure.json", "interrupted"


Guard = Callable[[], object]  # raises where a file must not appear

NEAR = 5  # ids that an error lists
RECORD_FORMAT = 1  # of a record; raise it when an older version could misread a newer record


class RunState(Enum):
    """Where a run stands."""

    MISSING = "missing"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNEVALUATED = "not evaluated"  # trained, but without the evaluation on corrupted images that is asked for


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run leaves behind. Units are in the names; accuracies are in percent; MACs are what papers call FLOPs."""

    id: str
    status: str
    tricks: dict[str, dict[str, Any]]
    data: dict[str, Any]
    model: dict[str, Any]
    seed: int
    epochs: int
    metrics: dict[str, Any]
    cost: dict[str, Any]
    environment: dict[str, Any]
    command: str
    config: dict[str, Any]
    robustness: dict[str, Any] = field(default_factory=dict)  # protocol with its changes -> errors and scores
    format: int = RECORD_FORMAT


class Store:
    """The runs below one folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.damaged: list[str] = []  # what is wrong with records that were left out

    def folder(self, run_id: str) -> Path:
        """The folder of a run. Raises UserError for an id that would lead out of the store."""
        return self.root / safe_name(run_id, "run id")

    def record(self, run_id: str) -> Record | None:
        """The record of a finished run, or None."""
        path = self.folder(run_id) / RECORD
        return read_record(path) if path.is_file() else None

    def state(self, run_id: str) -> RunState:
        """Where the run stands, from the files in its folder."""
        folder = self.folder(run_id)
        if (folder / RECORD).is_file():
            return RunState.DONE
        if is_live(folder / LEASE):
            return RunState.RUNNING
        if (folder / FAILURE).is_file():
            return RunState.FAILED
        return RunState.INTERRUPTED if (folder / INTERRUPTED).is_file() else RunState.MISSING

    def claim(self, run_id: str) -> Lease | None:
        """The right to train the run, or None while another live process has it."""
        return claim(self.folder(run_id))

    def failed(self, run_id: str) -> bool:
        """Whether the run's folder has the mark of a failure."""
        return (self.folder(run_id) / FAILURE).is_file()

    def failure(self, run_id: str) -> dict[str, str]:
        """The first line of the error of a failed run, and its traceback."""
        try:
            found = json.loads((self.folder(run_id) / FAILURE).read_text(encoding="utf-8"))
            return {"error": str(found["error"]), "traceback": str(found["traceback"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"error": "how is not known: it could not be written down", "traceback": ""}

    def mark_failed(self, run_id: str, error: str, trace: str) -> None:
        """Remember the first line of an error; on a full disk, at least that there was one."""
        text = json.dumps({"error": error.partition("\n")[0], "traceback": trace}, indent=2)
        path = self.folder(run_id) / FAILURE
        try:
            write_whole(path, lambda path: path.write_text(text, encoding="utf-8"))
        except OSError:
            with suppress(OSError):
                path.touch()  # takes no room

    def mark_interrupted(self, run_id: str) -> None:
        with suppress(OSError):  # the checkpoint is what counts
            (self.folder(run_id) / INTERRUPTED).touch()

    def clear_marks(self, run_id: str) -> None:
        """Forget an earlier failure or interruption."""
        for name in (FAILURE, INTERRUPTED):
            (self.folder(run_id) / name).unlink(missing_ok=True)

    def records(self) -> Iterator[Record]:
        """Every finished run's record, in the order of their ids; damaged ones are named in ``damaged`` instead."""
        if not self.root.is_dir():
            raise UserError(f"store={self.root}: no such folder; bot-train makes it, or name another with store=")
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            try:
                yield read_record(path)
            except DamagedRecord as error:
                self.damaged.append(str(error))

    def find(self, prefix: str) -> Record:
        """The record of the finished run whose id begins with ``prefix``. Raises UserError for none or for several."""
        if not self.root.is_dir():
            raise UserError(f"store={self.root}: no such folder; name the folder of the records with store=")
        ids = sorted(path.parent.name for path in self.root.glob(f"*/{RECORD}"))
        found = [name for name in ids if prefix and name.startswith(prefix)]
        if len(found) == 1 or prefix in found:
            return read_record(self.folder(prefix if prefix in found else found[0]) / RECORD)
        if found:
            raise UserError(f"run={prefix} is the start of {len(found)} ids: {_listed(found)}; type more of it")
        near = get_close_matches(prefix, ids, n=NEAR, cutoff=0.3) or ids
        known = f"; there are {_listed(near)}" if near else "; bot-train makes one"
        raise UserError(f"run={prefix}: {self.root} has no finished run of this id{known} (bot-table lists them)")

    def weights(self, run_id: str, copy: str = "last") -> Path:
        """The file of a run's weights: the last ones, or an averaged copy's."""
        name = safe_name(copy, "name of a copy of the weights")
        return self.folder(run_id) / (WEIGHTS if name == "last" else f"{name}.{WEIGHTS}")

    def writable(self) -> None:
        """Refuse a store that cannot be written to before anything is trained for it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise UserError(
                f"store={self.root}: cannot be written to ({error.strerror}); name another folder"
            ) from error

    def write_metrics(self, run_id: str, rows: list[dict[str, Any]], *, before: Guard | None = None) -> None:
        """One row per epoch and evaluated copy; ``before`` as for ``write_whole``."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(
            self.folder(run_id) / METRICS, lambda path: path.write_text(text.getvalue(), newline=""), before=before
        )

    def write_record(self, record: Record, *, before: Guard | None = None) -> None:
        """The last file of a run: where it is, the run is finished."""
        text = json.dumps(asdict(record), indent=2) + "\n"
        path = self.folder(record.id) / RECORD
        write_whole(path, lambda path: path.write_text(text, encoding="utf-8"), before=before)


class ReadOnlyStore(Store):
    """A store that is read only, as by the ranks for which rank 0 writes."""

    def writable(self) -> None: ...

    def mark_failed(self, run_id: str, error: str, trace: str) -> None: ...

    def mark_interrupted(self, run_id: str) -> None: ...

    def clear_marks(self, run_id: str) -> None: ...

    def write_metrics(self, run_id: str, rows: list[dict[str, Any]], *, before: Guard | None = None) -> None: ...

    def write_record(self, record: Record, *, before: Guard | None = None) -> None: ...


def _listed(ids: list[str]) -> str:
    return ", ".join(ids[:NEAR]) + (", ..." if len(ids) > NEAR else "")


def safe_name(name: str, what: str) -> str:
    """``name``, which becomes part of a path. Raises UserError where it could lead elsewhere."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise UserError(f"{name!r} is no {what}: letters, digits, _, - and . alone, and no . in front")
    return name


def read_record(path: Path) -> Record:
    """The record in a file. Raises DamagedRecord, or UserError for one that a newer version wrote."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        newer = values.get("format", RECORD_FORMAT) > RECORD_FORMAT
        record = None if newer else Record(**values)
        if record is not None:
            for name in (record.id, *record.metrics.get("copies", {})):
                safe_name(name, "name")
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedRecord(f"{path} is not a record ({error}): move it away, and the run is trained anew") from error
    if record is None:
        raise UserError(f"{path} was written by a newer version of bagoftricks: upgrade this one to read it")
    return record
