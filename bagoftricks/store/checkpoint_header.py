"""Names of checkpoints, and the values in their headers. Loads no torch, so that commands can list them at once."""

import json
from pathlib import Path

from bagoftricks.store.json_fields import Json

FOLDER = "checkpoints"
SUFFIX = ".safetensors"
HEADER_BYTES = 2**27
LENGTH_BYTES = 8  # bytes of a safetensors file that tell the length of its header


def steps_in(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order."""
    names = [path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")]
    return sorted(int(name) for name in names if name.isdecimal())


def read_values(path: Path) -> Json:
    """Return the values in a checkpoint without its tensors, and without a check of its digest.

    Raises OSError or ValueError for what cannot be read.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path} is no file")
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        data = bytearray(start + file.read(min(int.from_bytes(start, "little"), HEADER_BYTES)))
    try:
        values: Json = json.loads(header_of(data)["__metadata__"]["about"])["values"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint") from error
    return values


def header_of(data: bytearray) -> Json:
    """Return the header of a safetensors file."""
    size = int.from_bytes(data[:LENGTH_BYTES], "little")
    header: Json = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + size])
    return header
