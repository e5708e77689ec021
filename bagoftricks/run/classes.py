"""Classes of a network and of a data set, matched by their names."""

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from bagoftricks.errors import UserError, as_text, did_you_mean, printable
from bagoftricks.folders import local_path
from bagoftricks.models.weights import existing, metadata
from bagoftricks.store.files import read_file
from bagoftricks.store.json_fields import from_json, parse_json
from bagoftricks.store.record import read_record
from bagoftricks.store.store import RECORD, WEIGHTS

SHOWN_NAMES = 3  # names that an error lists
CLASSES_BYTES = 2**26  # more is no list of classes
CLASS_NAMES = "class_names"  # of a file of weights: its key in the metadata


def output_order(
    ours: Sequence[str], theirs: Sequence[str], outputs: int, *, what: str, change: str
) -> tuple[int, ...] | None:
    """Return the output of a network for each of our classes; the outputs of no class of ours come last.

    ``theirs`` are the names of its first outputs. None: every output is where it is expected, or the names are unknown.
    Raises UserError if we have a class that the network has not; ``what`` begins the message, and ``change`` ends it.
    """
    if not theirs:
        return None
    place = {_comparable(name): output for output, name in enumerate(theirs)}
    names = [_comparable(name) for name in ours]
    missing = [name for name in names if name not in place]
    if missing:
        spare = [name for name in theirs if _comparable(name) not in names]
        near = did_you_mean(missing[0], spare) if len(missing) == 1 else ""
        raise UserError(f"{what} has no class {_listed(missing)} (of its own: {_listed(spare)}){near}; {change}")
    order = [place[name] for name in names]
    order += sorted(set(range(outputs)) - set(order))
    if len(order) > outputs:
        raise UserError(f"{what}: two classes have one name, so that they cannot be matched; rename one")
    return None if order == list(range(outputs)) else tuple(order)


def order_notes(what: str, theirs: Sequence[str], order: Sequence[int] | None) -> list[str]:
    """Return a note if the classes of a network were not matched by name, or stand in another order."""
    if not theirs:
        return [f"{what} does not name its classes: their number is checked, their order is taken to be the data's"]
    return [] if order is None else [f"{what} has the classes in another order: they are matched by name"]


def class_names_of(weights: str | Path) -> tuple[str, ...]:
    """Return the class names of a file of weights, from the file or the record next to it; none if it has no names."""
    file = existing(weights)
    if (text := metadata(file).get(CLASS_NAMES)) is not None:
        try:
            return from_json(tuple[str, ...], json.loads(text), CLASS_NAMES)
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}: its class names are damaged ({error}): write the file again") from error
    record = file.parent / RECORD
    return read_record(record).data.class_names if file.name.endswith(WEIGHTS) and record.is_file() else ()


def read_class_names(path: str) -> tuple[str, ...]:
    """Return the names in a text file with one on each line, or in a JSON array. Raises UserError."""
    file = local_path("classes", path)
    try:
        data = read_file(file.resolve(), CLASSES_BYTES).removeprefix(BOM_UTF8).strip()
        names = from_json(list[str], parse_json(data), "names") if data[:1] == b"[" else data.decode().splitlines()
    except OSError as error:
        raise UserError(f"classes={path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"classes={path}: is no list of classes ({error}): write one name on each line, in UTF-8"
        ) from error
    names = [name.strip() for name in names]
    if not all(names):
        raise UserError(f"classes={path}: name {names.index('') + 1} of {len(names)} is empty")
    return tuple(names)


def _comparable(name: str) -> str:
    """Return a name as records have it, and with é as one character, which macOS writes as two."""
    return normalize("NFC", as_text(name))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(name)}'" for name in names[:SHOWN_NAMES])
    return (shown + ", ..." if len(names) > SHOWN_NAMES else shown) or "none"
