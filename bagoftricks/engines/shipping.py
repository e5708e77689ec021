"""Files that the settings of a run name, on another machine: by the same path where it exists, else from an archive.

An archive is extracted once on each machine, into its cache folder, below a name that says what is in it.
"""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bagoftricks.errors import UserError, printable
from bagoftricks.folders import cache_folder
from bagoftricks.settings import Settings
from bagoftricks.store.files import total_size
from bagoftricks.store.store import RECORD
from bagoftricks.system import lock

DATA_PATHS = ("root", "val_root", "file")  # settings of data sets that name files
CORRUPTION_PATHS = ("stored", "frost")
TEACHER_FILES = ("file", "torchvision", "timm")  # sources of teachers that end with a path
SHIPPED_BYTES = 512 * 2**20  # bytes of what is shipped unasked
Find = Callable[[str], str]  # the path here of one that the settings name
Get = Callable[[Any], bytes]


@dataclass(frozen=True)
class Shipped:
    """Files at one path of the machine that sends them: the name of their archive, and a way to get it."""

    digest: str
    archive: Any  # a reference in a list, so that Ray leaves it where it is until it is needed; empty: not shipped


def relocated(settings: Settings, find: Find) -> Settings:
    """Return settings in which each path that exists is ``find`` of it; none of them is in a run's id."""
    data, corruptions = settings.data, settings.corruptions
    listed, root = getattr(data, "file", None), getattr(data, "root", None)
    if listed and root is None and os.path.exists(listed):
        start: Any = {"root": os.path.dirname(os.path.abspath(listed))}  # of its paths
        data = replace(data, **start)
    data = replace(data, **_moved(data, DATA_PATHS, find))
    model = replace(settings.model, **_moved(settings.model, ("weights",), find))
    corruptions = replace(corruptions, **_moved(corruptions, CORRUPTION_PATHS, find))
    tricks = {name: dict(params) for name, params in settings.tricks.items()}
    if source := tricks.get("distill", {}).get("teacher"):
        kind, _, rest = str(source).partition(":")
        path = rest.rpartition(":")[2] if kind in TEACHER_FILES else ""
        if path and os.path.exists(path):
            tricks["distill"]["teacher"] = str(source).removesuffix(path) + find(os.path.abspath(path))
    return replace(settings, data=data, model=model, corruptions=corruptions, tricks=tricks)


def _moved(part: Any, names: tuple[str, ...], find: Find) -> dict[str, Any]:
    values = {name: getattr(part, name, None) for name in names}
    there = {name: os.path.expanduser(value) for name, value in values.items() if isinstance(value, str) and value}
    return {name: find(os.path.abspath(value)) for name, value in there.items() if os.path.exists(value)}


def paths_of(settings: Settings) -> list[str]:
    """Return the paths that the settings name and that exist here."""
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    relocated(settings, note)
    return found


def placed(settings: Settings, shipped: dict[str, Shipped], node: str, get: Get) -> Settings:
    """Return settings with paths that exist here, for those made absolute elsewhere: their own, or of an archive.

    ``get`` fetches an archive to this machine. Raises UserError for files that are neither here nor were shipped.
    """
    found = {}
    for path, parcel in shipped.items():
        if os.path.exists(path):
            found[path] = path
        elif parcel.archive:
            found[path] = str(extracted(path, parcel, get))
        else:
            raise UserError(
                f"{printable(path)}: is not on the node {node}: put it there, or type engine.ship_data=true"
            )
    return _renamed(settings, found)


def _renamed(settings: Settings, found: dict[str, str]) -> Settings:
    """Return settings with other paths, which need not exist."""

    def moved(part: Any, names: tuple[str, ...]) -> Any:
        held = {name: getattr(part, name, None) for name in names}
        return replace(part, **{name: found[path] for name, path in held.items() if path in found})

    tricks = {name: dict(params) for name, params in settings.tricks.items()}
    source = str(tricks.get("distill", {}).get("teacher", ""))
    for path, here in found.items():
        if source.endswith(f":{path}"):
            tricks["distill"]["teacher"] = source.removesuffix(path) + here
    return replace(
        settings,
        data=moved(settings.data, DATA_PATHS),
        model=moved(settings.model, ("weights",)),
        corruptions=moved(settings.corruptions, CORRUPTION_PATHS),
        tricks=tricks,
    )


def pack_files(path: str, most: int | None) -> bytes | None:
    """Return a tar archive of a file or a folder, None if it has more than ``most`` bytes.

    A file of weights goes with the record next to it, which says whose they are.
    """
    if most is not None and total_size(Path(path))[1] > most:
        return None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        archive.add(path, os.path.basename(path))
        record = Path(path).with_name(RECORD)
        if os.path.isfile(path) and record.is_file():
            archive.add(record, RECORD)
    return packed.getvalue()


def digest_of_archive(archive: bytes) -> str:
    """Return the name of an archive's folder."""
    return blake2b(archive, digest_size=16).hexdigest()


def extracted(path: str, parcel: Shipped, get: Get) -> Path:
    """Return where the files of an archive lie on this machine; the first process that asks extracts it."""
    base = cache_folder() / "shipped"
    folder = base / parcel.digest
    base.mkdir(parents=True, exist_ok=True)
    with open(base / f"{parcel.digest}.lock", "wb") as file:
        lock(file.fileno())
        if not folder.is_dir():
            unfinished = base / f"{parcel.digest}.tmp"
            shutil.rmtree(unfinished, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(get(parcel.archive[0]))) as archive:
                archive.extractall(unfinished, filter="data")
            os.rename(unfinished, folder)
    return folder / os.path.basename(path)
