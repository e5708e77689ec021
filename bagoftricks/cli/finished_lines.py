"""Command lines whose run is finished: typed again, they are answered from its record, without Hydra or torch.

A line, the code of this package, the machine and the store name a run, unless what the run is made of lies elsewhere:
images in files, weights, plug-ins, another run. So only lines of runs on images of this package are kept, each in a
file of the cache that names its run. The answer is made from the run's record, which has to be there.
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from bagoftricks.cli.newest import DEFAULT_STORE
from bagoftricks.errors import UserError, printable
from bagoftricks.folders import cache_folder, package_stamp, user_folders
from bagoftricks.plugins import loaded_plugins
from bagoftricks.started import ranks_started

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record

LINE_BYTES = 2**16


@dataclass(frozen=True)
class TableSettings:
    """Settings of how a run is shown."""

    store: str
    format: str
    metric: str
    target: float
    price_per_hour: float | None
    objective: str
    each: bool

    @classmethod
    def of(cls, settings: "Settings") -> "TableSettings":
        return cls(
            store=settings.store,
            format=settings.format,
            metric=settings.metric,
            target=settings.target,
            price_per_hour=settings.price_per_hour,
            objective=settings.objective,
            each=settings.corruptions.each,
        )


def keep_line(arguments: Sequence[str], settings: "Settings", record: "Record") -> None:
    """Remember that these arguments are of a run, if nothing outside of this package and the store can change that."""
    elsewhere = (
        *(settings.model.weights, settings.extend, record.data.teacher, record.parent),
        *(settings.corruptions.protocol != "none", settings.runtime.devices != 1, settings.rerun),
    )
    path = _place(arguments)
    if path is None or any(elsewhere) or not settings.data.packaged:
        return
    from bagoftricks.store.files import write_whole
    from bagoftricks.store.json_fields import sealed_text

    text = sealed_text({"run": record.id, "table": asdict(TableSettings.of(settings))})
    with suppress(OSError, UserError):  # a cache that cannot be written
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def find_line(arguments: Sequence[str]) -> "tuple[Record, TableSettings] | None":
    """Return the record of the finished run of these arguments, and how to show it; None if that is not known."""
    try:
        path = _place(arguments)
    except (OSError, UserError):
        return None
    if path is None or not path.is_file():
        return None
    from bagoftricks.store.checkpoint_header import FOLDER
    from bagoftricks.store.files import read_file
    from bagoftricks.store.json_fields import from_json, parse_json, unsealed
    from bagoftricks.store.lease import LEASE
    from bagoftricks.store.store import Store

    try:
        values, sealed = unsealed(parse_json(read_file(path, LINE_BYTES)))
        table = from_json(TableSettings, values["table"])
        store = Store(table.store)
        record, folder = store.record(values["run"]), store.folder(values["run"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):  # damaged, in any way
        return None
    if not sealed or record is None or record.id != values["run"]:
        return None
    if (folder / FOLDER).exists() or (folder / LEASE).exists():  # somebody trains it again, or was killed
        return None
    return record, table


def finished_note(run_id: str) -> str:
    return f"run {run_id} is finished: this is its record (rerun=true trains it again)"


def say_finished(run_id: str) -> None:
    """Print the note that a run prints which finds its record."""
    print(printable(finished_note(run_id)), file=sys.stderr)


def _place(arguments: Sequence[str]) -> Path | None:
    """Return the file that keeps a line, None for one that depends on more than this package and its store."""
    keys = [argument.lstrip("+~").partition("=")[0] for argument in arguments]
    stores = [argument for argument, key in zip(arguments, keys, strict=True) if key == "store"]
    store = stores[0].removeprefix("store=") if stores else DEFAULT_STORE
    plain = all("${" not in argument and not argument.startswith("-") for argument in arguments)
    if not plain or len(stores) > 1 or "://" in store or ranks_started() or loaded_plugins() or user_folders():
        return None
    machine = platform.node()  # on which dtype=auto depends
    about = json.dumps([package_stamp(), machine, os.path.abspath(store), list(arguments)])
    return cache_folder() / "lines" / blake2b(os.fsencode(about), digest_size=16).hexdigest()
