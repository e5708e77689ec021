"""Description of a run, written when its training begins: its settings, its command, who began it and where.

A finished run has all of this in its record, and its description is removed. That of an interrupted or a failed run is
what lists it and tells how to resume it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.store.checkpoint_header import FOLDER, SUFFIX, read_values, steps_in
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.json_fields import Json, from_json, parse_json, sealed_text, to_json, unsealed
from bagoftricks.store.record import ParentFacts, Record, TeacherFacts

DESCRIPTION = "run.json"
DESCRIPTION_BYTES = 2**24
OF_DATA = ("digest", "num_classes", "image_size")  # values of an identity's data that are no settings of the data


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """Facts that are known of a run before it is finished."""

    id: str
    tricks: dict[str, Json]
    data: str
    model: Json
    seed: int
    epochs: int
    command: str = ""  # empty: not known
    config: Json = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    teacher: TeacherFacts | None = None
    parent: ParentFacts | None = None
    date: str | None = None  # of its first start here, in UTC, as ISO 8601
    host: str | None = None
    user: str | None = None


def describe_record(record: Record) -> RunDescription:
    """Return the description of a finished run."""
    machine = record.environment
    return RunDescription(
        id=record.id,
        tricks=record.tricks,
        data=record.data.name,
        model=record.model,
        seed=record.seed,
        epochs=record.epochs,
        command=record.command,
        config=record.config,
        plugins=record.plugins,
        teacher=record.data.teacher,
        parent=record.parent,
        date=machine.date,
        host=machine.host,
        user=machine.user,
    )


def write_description(folder: Path, description: RunDescription, *, before: Callable[[], object]) -> None:
    """Write the description of a run into its folder; ``before`` as for ``write_whole``."""
    text = sealed_text(to_json(description))
    write_whole(folder / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"), before=before)


def find_description(folder: Path) -> RunDescription | None:
    """Return the description of an unfinished run; of earlier versions, from its last checkpoint. None without one."""
    try:
        values, sealed = unsealed(parse_json(read_file(folder / DESCRIPTION, DESCRIPTION_BYTES)))
        found = from_json(RunDescription, values)
        if sealed and found.id == folder.name and isinstance(found.model.get("name"), str):
            return found
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        pass  # missing or damaged: a checkpoint says less
    return _from_checkpoint(folder)


def _from_checkpoint(folder: Path) -> RunDescription | None:
    """Return what the last checkpoint says of its run."""
    try:
        step = steps_in(folder / FOLDER)[-1]
        identity = read_values(folder / FOLDER / f"{step:09}{SUFFIX}")["identity"]
        data = {name: value for name, value in identity["data"].items() if name not in OF_DATA}
        plain = {name: value for name, value in identity.items() if isinstance(value, int | float)}
        values = {"tricks": identity["tricks"], "model": identity["model"], "seed": identity["seed"]}
        config = {**plain, "data": data, "model": identity["model"]}
        values |= {"epochs": identity["epochs"], "plugins": identity.get("plugins", {}), "data": data["name"]}
        return from_json(RunDescription, {**values, "id": folder.name, "config": config})
    except (IndexError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
