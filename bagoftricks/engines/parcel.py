"""RunFiles of a run on their way between the store and the machine that trains it without a shared folder."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bagoftricks.run.execute import recorded
from bagoftricks.settings import Settings
from bagoftricks.store.description import DESCRIPTION, find_description, write_description
from bagoftricks.store.files import LEFTOVERS, open_regular, write_whole
from bagoftricks.store.lease import LEASE, Lease, require_held
from bagoftricks.store.record import TeacherFacts, read_record
from bagoftricks.store.store import FAILURE, INTERRUPTED, LOG, RECORD, Store
from bagoftricks.study.plan import PlannedRun
from bagoftricks.system import AS_IT_IS, NO_LINKS

RunFiles = Mapping[str, bytes]  # by their paths in the folder of a run
STAYS = (LEASE, FAILURE, INTERRUPTED)  # marks, which the store makes itself


def pack(folder: Path) -> dict[str, bytes]:
    """Return the files of a run: all but its lease, its marks and what is not whole yet."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            unfinished = any(path.match(pattern) for pattern in LEFTOVERS)
            if name not in STAYS and not unfinished and not path.is_symlink():
                with open_regular(path) as file:
                    found[path.relative_to(folder).as_posix()] = file.read()
    return found


def unpack(files: RunFiles, folder: Path) -> None:
    """Write files into the folder of a run that is nobody else's."""
    for name, data in files.items():
        path = inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder. Raises ValueError if its name leads out of it."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts:
        raise ValueError(f"{name!r} leads out of the folder of its run")
    return folder.joinpath(*pure.parts)


def deliver(files: RunFiles, run: PlannedRun, store: Store, lease: Lease) -> None:
    """Write what a run made elsewhere into its folder, each file whole, and the record last.

    The record and the description get the settings of the study in place of those that led to files elsewhere. Raises
    RunElsewhere if another process has taken the run over.
    """

    def guard() -> None:
        require_held(lease, run.id)

    folder = store.folder(run.id)
    names = sorted(files, key=lambda name: (name == RECORD, name))
    for name in names:
        if name == RECORD:
            write_record(files[RECORD], run, store, lease)
        elif name == LOG:
            append_log(folder / LOG, files[LOG])
        else:
            data = files[name]
            write_whole(inside(folder, name), lambda path, data=data: path.write_bytes(data), before=guard)  # type: ignore[misc]
    if DESCRIPTION in files and (found := find_description(folder)):
        about = replace(found, config=recorded(run.settings), teacher=_typed(found.teacher, run.settings))
        write_description(folder, about, before=guard)


def write_record(data: bytes, run: PlannedRun, store: Store, lease: Lease) -> None:
    """Write the record with the settings of the study."""
    arrived = store.folder(run.id) / f".{RECORD}.arrived.tmp"
    try:
        arrived.write_bytes(data)
        record = read_record(arrived)
    finally:
        arrived.unlink(missing_ok=True)
    facts = replace(record.data, teacher=_typed(record.data.teacher, run.settings))
    record = replace(record, data=facts, config=recorded(run.settings))
    store.write_record(record, before=lambda: require_held(lease, run.id))


def append_log(path: Path, data: bytes) -> None:
    """Add the output of a job to the log of its run, where earlier jobs have left theirs."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | AS_IT_IS | NO_LINKS, 0o666), "ab") as file:
        file.write(data)


def _typed(teacher: TeacherFacts | None, settings: Settings) -> TeacherFacts | None:
    """Return a teacher with its source as it was typed."""
    source = settings.tricks.get("distill", {}).get("teacher")
    return replace(teacher, source=str(source)) if teacher and source else teacher
