"""Arrow and Parquet files whose rows hold images: where the bytes of each lie. Nothing in them is executed.

An Arrow file that is not compressed is a container: its images are read at their places. What is compressed, as Parquet
always is, is written once as such a file into the cache folder.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bagoftricks.data.containers import NO_CHECKSUM, Container, Spans, open_container
from bagoftricks.data.digests import replaced_file
from bagoftricks.errors import DataError, NotHere, UserError, printable
from bagoftricks.folders import cache_folder

ROWS = 1000  # that are read at a time
FACTS = b"bagoftricks"  # key of the metadata of a file in the cache: the state of the file that it was made of
FILE_FORMAT = b"ARROW1"  # beginning of Arrow files that are no streams
INSTALL = "type pip install 'bagoftricks[datasets]'"


class FileColumns(NamedTuple):
    """FileColumns of a file."""

    names: list[str]
    of_bytes: list[str]  # that may hold images
    features: Mapping[str, Mapping[str, Any]]  # types that Hugging Face's library declares


@dataclass(frozen=True)
class ImageTable:
    """Images of an Arrow or Parquet file, row by row."""

    spans: Spans
    paths: list[str | None]  # of images that are not in the file
    labels: list[Any]  # None where there is none


def arrow_module() -> Any:
    """Return pyarrow. Raises UserError if it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        why = f"Arrow and Parquet files are read with pyarrow, which is not installed: {INSTALL}"
        raise NotHere(why, "a package") from error
    return pyarrow


def parquet_module() -> Any:
    """Return pyarrow.parquet. Raises UserError if it is not installed."""
    arrow_module()
    import pyarrow.parquet

    return pyarrow.parquet


@contextmanager
def reading_arrow(file: Path) -> Iterator[None]:
    """Raise DataError that names the file for whatever pyarrow raises at it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{printable(file)} cannot be read ({printable(reason)}): copy or download it again") from error


def read_columns(file: Path) -> FileColumns:
    """Return the columns of an Arrow or Parquet file."""
    with reading_arrow(file):
        if _is_parquet(file):
            return _columns(parquet_module().read_schema(file))
        with arrow_module().memory_map(str(file)) as source:
            return _columns(_open(source).schema)


def _columns(schema: Any) -> FileColumns:
    names: list[str] = schema.names
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        types = {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        types = {}
    return FileColumns(names, [name for name in names if _holds_bytes(schema.field(name).type)], types)


def _holds_bytes(column: Any) -> bool:
    """Return True for a column of bytes, or of bytes with a path."""
    if hasattr(column, "get_field_index"):
        return column.get_field_index("bytes") >= 0 and _holds_bytes(column.field("bytes").type)
    return str(column) in ("binary", "large_binary")


def read_images(file: Path, image: str, label: str) -> ImageTable:
    """Return where the images of a column lie, with their labels."""
    with reading_arrow(file):
        found = None if _is_parquet(file) else _read_spans(file, image, label)
        found = found or _read_spans(_laid_open(file, [image, label]), image, label)
        assert found is not None, "what is written into the cache is not compressed"
    return found


def _is_parquet(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(4) == b"PAR1"


def _open(source: Any) -> Any:
    """Return the reader of an Arrow file or stream."""
    ipc = arrow_module().ipc
    is_file = source.read(len(FILE_FORMAT)) == FILE_FORMAT
    source.seek(0)
    return ipc.open_file(source) if is_file else ipc.open_stream(source)


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def _read_spans(file: Path, image: str, label: str) -> ImageTable | None:
    """Return where the images lie, None if they are compressed."""
    container, tables, paths, labels = open_container(str(file)), [], list[str | None](), list[Any]()
    with arrow_module().memory_map(str(file)) as source:
        whole = source.read_buffer(source.size())
        source.seek(0)
        for batch in _batches(_open(source)):
            chosen = batch.select([image, label])
            chosen.validate(full=True)  # offsets that lead out of the file, among others
            if (table := _places(chosen.column(0), whole)) is None:
                return None
            tables.append(table)
            paths += _paths(chosen.column(0))
            labels += chosen.column(1).to_pylist()
    return ImageTable(_spans(container, tables), paths, labels)


def _spans(container: Container, tables: Sequence[npt.NDArray[np.int64]]) -> Spans:
    return Spans((container,), np.concatenate([np.empty((0, 6), np.int64), *tables]))


def _places(column: Any, whole: Any) -> npt.NDArray[np.int64] | None:
    """Return the rows of Spans for an array of images, None if its bytes are no part of the file ``whole``."""
    is_struct = hasattr(column, "field")
    values = column.field("bytes") if is_struct else column
    width = np.dtype(np.int64 if values.type == arrow_module().large_binary() else np.int32)
    _, offsets, data = values.buffers()
    if not len(values) or offsets is None:
        return np.full((len(values), 6), -1, np.int64)
    ends = np.frombuffer(offsets, width, len(values) + 1, values.offset * width.itemsize).astype(np.int64)
    first = data.address - whole.address if data is not None else 0
    if ends[-1] and not 0 <= first <= whole.size - int(ends[-1]):
        return None
    sizes = np.diff(ends)
    there = np.array(values.is_valid()) & np.array(column.is_valid())
    made = np.stack([first + ends[:-1], sizes, sizes], 1)
    number, rest = np.where(there, 0, -1)[:, None], np.array([[0, NO_CHECKSUM]]).repeat(len(values), 0)
    return np.concatenate([number, made, rest], 1)


def _paths(column: Any) -> list[str | None]:
    """Return the paths that a column of images has next to the bytes."""
    if hasattr(column, "field") and column.type.get_field_index("path") >= 0:
        return column.field("path").to_pylist()  # type: ignore[no-any-return]
    return [None] * len(column)


# --- what is compressed ---


def _laid_open(file: Path, columns: list[str]) -> Path:
    """Return a file in the cache that has these columns uncompressed; write it if it is not there."""
    facts = open_container(str(file)).facts
    name = blake2b(os.fsencode("\0".join([str(file), *columns])), digest_size=8).hexdigest()
    place = cache_folder() / "arrow" / f"{name}.arrow"
    if _made_of(place) == facts:
        return place
    size = f"{file.stat().st_size / 2**20:,.0f} MiB or more"
    print(printable(f"{file}: its images are unpacked once into {place.parent}, {size}"), file=sys.stderr)
    try:
        with replaced_file(place) as temporary:
            _write_open(file, columns, temporary, facts)
    except OSError as error:
        if error.filename == str(file):
            raise
        raise UserError(
            f"{printable(place)} cannot be written ({error.strerror or printable(error)}): make room there, or name "
            "another folder with the variable XDG_CACHE_HOME"
        ) from error
    return place


def _made_of(place: Path) -> bytes | None:
    """Return the state of the file that one in the cache was made of."""
    try:
        with arrow_module().memory_map(str(place)) as source:
            found: bytes | None = _open(source).schema.metadata[FACTS]
            return found
    except Exception:  # there is none, or a damaged one
        return None


def _write_open(file: Path, columns: list[str], to: Path, facts: bytes) -> None:
    arrow = arrow_module()
    writer = None
    with open(file, "rb") as source:
        if _is_parquet(file):
            batches = parquet_module().ParquetFile(source).iter_batches(batch_size=ROWS, columns=columns)
        else:
            batches = _batches(_open(arrow.PythonFile(source)))
        with arrow.OSFile(str(to), "wb") as sink:
            for batch in batches:
                chosen = batch.select(columns)
                writer = writer or arrow.ipc.new_stream(sink, chosen.schema.with_metadata({FACTS: facts}))
                writer.write_batch(chosen.replace_schema_metadata({FACTS: facts}))
            if writer is None:
                raise ValueError("it has no rows")
            writer.close()
