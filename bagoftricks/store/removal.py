"""Removal of runs and of litter from a store that other processes use at the same time.

Whatever lies in a run's folder is removed under the run's lease: a run that a process has, here or on another machine,
is never touched.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bagoftricks.errors import RunElsewhere, UserError
from bagoftricks.store.checkpoint_header import FOLDER
from bagoftricks.store.description import DESCRIPTION
from bagoftricks.store.files import remove, temporaries, temporary_name, total_size
from bagoftricks.store.lease import LEASE
from bagoftricks.store.steps import STEPS_CSV
from bagoftricks.store.store import (
    CORRECT,
    EVIDENCE,
    FAILURE,
    INTERRUPTED,
    KEPT_STATE,
    LOG,
    METRICS,
    RECORD,
    STUDIES,
    WEIGHTS,
    Store,
)
from bagoftricks.store.survey import FolderState, SurveyedRun

QUIET_SECONDS = 600.0  # since the last change of what prune removes
SHARED = (STUDIES, "teachers", "unfinished")  # folders that all runs share
OURS = {
    RECORD,
    METRICS,
    CORRECT,
    LOG,
    LEASE,
    FAILURE,
    INTERRUPTED,
    DESCRIPTION,
    EVIDENCE,
    FOLDER,
    KEPT_STATE,
    STEPS_CSV,
}  # names in a run's folder


@dataclass(frozen=True, kw_only=True)
class Litter:
    """Files that no run needs, or a whole folder of a run."""

    what: str
    paths: tuple[Path, ...]
    run: str | None = None  # under whose lease they are removed
    whole: bool = False  # the run's folder itself

    @property
    def size(self) -> tuple[int, int]:
        """Number of files, and their bytes."""
        sizes = [total_size(path) for path in self.paths]
        return sum(count for count, _ in sizes), sum(size for _, size in sizes)


def remove_run(store: Store, run_id: str) -> None:
    """Remove the folder of a run.

    It is renamed first: a process that dies in between leaves a temporary folder, which the next start removes. Raises
    RunElsewhere if a process has the run, UserError for a link in its folder.
    """
    folder = store.folder(run_id)
    lease = store.claim(run_id)
    if lease is None:
        raise RunElsewhere(f"run {run_id} is in use by a process: wait for it, or stop it")
    with lease:
        moved = temporary_name(folder)
        os.rename(folder, moved)
        store.place.discard(run_id)
    remove(moved)
    if os.path.lexists(moved):
        raise UserError(f"{moved}: is left of run {run_id}, since a file in it cannot be removed")


def find_litter(store: Store, runs: Iterable[SurveyedRun], states: Iterable[FolderState] = ()) -> list[Litter]:
    """Return what can be removed: litter, and the folders of runs in ``states``; nothing of what changed just now."""
    wanted = {FolderState.LEFTOVER, *states}
    found = [*_shared_litter(store), *(litter for run in runs for litter in _litter_of(run, wanted))]
    now = _now(store.root)
    return [litter for litter in found if all(now - last_change(path) >= QUIET_SECONDS for path in litter.paths)]


def remove_litter(store: Store, litter: Litter) -> None:
    """Remove litter. Raises RunElsewhere if a process has the run by now, UserError for links."""
    if litter.run is None:
        for path in litter.paths:
            remove(path)
    elif litter.whole:
        remove_run(store, litter.run)
    else:
        lease = store.claim(litter.run)
        if lease is None:
            raise RunElsewhere(f"run {litter.run} is in use by a process: left alone")
        with lease:  # which removes the lease of a dead process
            for path in litter.paths:
                remove(path)


def _shared_litter(store: Store) -> Iterator[Litter]:
    for folder in (store.root, *(store.root / name for name in SHARED)):
        if not folder.is_symlink() or folder == store.root:
            for path in temporaries(folder, every=False):
                yield Litter(what="temporary", paths=(path,))


def _litter_of(run: SurveyedRun, wanted: set[FolderState]) -> Iterator[Litter]:
    """Yield the litter of one run that no process has."""
    if run.state in (FolderState.RUNNING, FolderState.DAMAGED) or (run.owner and run.record):
        return
    if run.state in wanted:
        if run.state is not FolderState.LEFTOVER or not foreign_files(run.folder):
            what = {FolderState.LEFTOVER: "leftover"}.get(run.state, f"{run.state.value} run")
            yield Litter(what=what, paths=(run.folder,), run=run.id, whole=True)
        return
    paths = [*temporaries(run.folder), *temporaries(run.folder / FOLDER)]
    if paths:
        yield Litter(what="temporary", paths=tuple(paths), run=run.id)
    if run.state is FolderState.FINISHED:
        names = [name for name in (FOLDER, DESCRIPTION, LEASE) if os.path.lexists(run.folder / name)]
        if names:
            paths = [run.folder / name for name in names]
            yield Litter(what="of a finished run", paths=tuple(paths), run=run.id)


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a run's folder that no run writes."""
    known = {path.name for path in temporaries(folder)} | OURS
    names = sorted(os.listdir(folder))
    return [name for name in names if name not in known and not name.endswith((WEIGHTS, ".partial.json"))]


def _now(folder: Path) -> float:
    """Return the Unix time by the clock of the folder's own file system, which other machines write to as well."""
    probe = temporary_name(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def last_change(path: Path) -> float:
    """Return the Unix time of the last change of a file, or of the files in a folder."""
    inside = [os.path.join(base, name) for base, _, names in os.walk(path) for name in names]
    return max((os.lstat(each).st_mtime for each in inside or [str(path)] if os.path.lexists(each)), default=0.0)
