"""Tables as files: the suffix of the name says which style."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bagoftricks import __version__
from bagoftricks.errors import UserError
from bagoftricks.escape import for_html
from bagoftricks.folders import local_path
from bagoftricks.store.files import write_whole

if TYPE_CHECKING:
    from pandas import DataFrame

PARQUET = "parquet"
TABLE_SUFFIXES = {
    ".txt": "text",
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".html": "html",
    ".parquet": PARQUET,
}


def style_of_file(file: str, typed: str = "") -> str:
    """Return the style of a table's file. Raises UserError for another suffix, or for one that is not ``typed``."""
    style = TABLE_SUFFIXES.get(Path(file).suffix.lower())
    if style is None:
        raise UserError(f"file={file}: the name must end in {', '.join(TABLE_SUFFIXES)}")
    if typed not in ("", style):
        raise UserError(f"file={file} is {style}, not format={typed}: leave one of the two out")
    return style


def write_table(file: str, text: str, style: str, title: str) -> None:
    """Write a table that is drawn in ``style``; HTML becomes a document."""
    if style == "html":
        head = f'<meta charset="utf-8">\n<meta name="generator" content="bagoftricks {__version__}">'
        text = f'<!DOCTYPE html>\n<html lang="en">\n{head}\n<title>{for_html(title)}</title>\n{text}\n</html>'
    _write(file, lambda path: path.write_bytes(f"{text}\n".encode(errors="surrogateescape")))


def write_frame(file: str, frame: "DataFrame") -> None:
    """Write a frame as Parquet, with its notes and provenance. Raises UserError where pyarrow is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(f"file={file}: Parquet needs pyarrow: pip install 'bagoftricks[datasets]'") from error
    _write(file, lambda path: frame.to_parquet(path, engine="pyarrow"))


def _write(file: str, write: Callable[[Path], object]) -> None:
    try:
        write_whole(local_path("file", file), write)
    except OSError as error:
        raise UserError(f"file={file}: cannot be written ({error.strerror})") from error
