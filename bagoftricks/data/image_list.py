"""Images that a file lists: CSV, TSV or Parquet with a row for each image."""

import csv
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Optional

import numpy as np

from bagoftricks.data.archive_folder import ArchiveFolder, folder_or_archive
from bagoftricks.data.arrow import parquet_module, reading_arrow
from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.labelled import HOLD_OUT, TRAINING, VALIDATING, Labelled, choose_splits, labelled_dataset
from bagoftricks.data.listing import Listing, first_names
from bagoftricks.data.sources import Dataset
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_path
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

USUAL_NAMES = {  # usual names, the first that is there
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "class", "class_name", "label_name", "category", "target", "class_id", "label_id", "labels"),
    "split": ("split", "set", "subset", "partition"),
}
DELIMITERS = ",;\t|"
ONE_SPLIT = "all"  # split of all rows where there is no column of splits


class ListedImage(NamedTuple):
    """One image of a list."""

    line: int
    path: str
    label: str
    split: str


class ListedColumns(NamedTuple):
    """Columns of a file, read by name."""

    header: list[str]
    lines: Sequence[int]  # number of each row
    column: Callable[[str], Sequence[object]]


@dataset(name="list")
class ImageList(DataSettings):
    """Images that a file lists: CSV, TSV or Parquet with columns of path, label and split."""

    places: ClassVar[tuple[str, ...]] = (
        *DataSettings.places,
        *("file", "path_column", "label_column", "split_column", "train_split", "val_split"),
    )

    file: Optional[str] = None
    """list of the images: a CSV, TSV or Parquet file with a row for each"""
    root: Optional[str] = None
    """folder, or zip or tar archive, that relative paths start from; default: the folder of the list"""
    path_column: Optional[str] = None
    """name of the column of paths; default: path, file, filename, image ... (docs/data.md)"""
    label_column: Optional[str] = None
    """name of the column of labels, names or numbers; default: label, class, category, target ..."""
    split_column: Optional[str] = None
    """name of the column that says which split an image is in; default: split, set, subset, partition"""
    train_split: Optional[str] = None
    """training images in the column of splits; default: train or training"""
    val_split: Optional[str] = None
    """validation images in the column of splits; default: val, valid, validation, dev, else test or eval"""

    def find(self) -> Dataset:
        if self.file is None:
            raise DataError("data.file is not set: type data.file=labels.csv, a list with a row for each image")
        file = local_path("data.file", self.file).absolute()
        if not file.is_file():
            beside = os.listdir(file.parent) if file.parent.is_dir() else []
            raise DataError(f"data.file={printable(self.file)}: no such file{did_you_mean(file.name, beside)}")
        table = _read_parquet(file) if _beginning(file) == b"PAR1" else _read_text(file)
        typed = {"path": self.path_column, "label": self.label_column, "split": self.split_column}
        columns = {what: _column(file, table.header, what, name) for what, name in typed.items()}
        if columns["split"] is None and not self.holdout:
            raise DataError(
                f"{printable(file)} has no column of splits (its columns: {first_names(table.header)}): {HOLD_OUT}, or "
                "name the column with data.split_column="
            )
        rows = _rows(file, table, columns)
        train, val, warnings = self._chosen(file, rows)
        _check_twice(file, [*train, *val])
        root = folder_or_archive("data.root", self.root) if self.root else file.parent
        first, second = (_labelled(file, root, part) for part in (train, val))
        return labelled_dataset(self.name, Listing(root=str(file)), first, second if val else None, warnings=warnings)

    def _chosen(
        self, file: Path, rows: Sequence[ListedImage]
    ) -> tuple[list[ListedImage], list[ListedImage], list[str]]:
        """Return the training and the validation images, and a warning for those of other splits."""
        parts: dict[str, list[ListedImage]] = {}
        for row in rows:
            parts.setdefault(row.split, []).append(row)
        where, holdout = printable(file), bool(self.holdout)
        first, second = choose_splits(where, parts, self.train_split, self.val_split, holdout=holdout)
        others, usual = [name for name in parts if name not in (first, second)], (*TRAINING, *VALIDATING)
        unknown = [name for name in others if name.lower() not in usual]
        if unknown and not (self.train_split and (self.val_split or holdout)):
            raise DataError(
                f"{where}, line {parts[unknown[0]][0].line}: the split '{printable(unknown[0])}' is unknown"
                f"{did_you_mean(unknown[0], usual)}; correct it, or name the two that are meant with data.train_split= "
                "and data.val_split="
            )
        warnings = [
            f"{where}: {len(parts[name]):,} rows of the split '{printable(name)}' are not used" for name in others
        ]
        return parts[first], [] if second is None else parts[second], [] if holdout else warnings


# --- tables ---


def _beginning(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(4)


def _column(file: Path, header: Sequence[str], what: str, typed: str | None) -> str | None:
    """Return the name of a column: the typed one, or the first usual one. Raises DataError if it is needed."""
    if typed is not None:
        if typed in header:
            return typed
        raise DataError(
            f"data.{what}_column={printable(typed)}: {printable(file)} has no such column{did_you_mean(typed, header)} "
            f"(its columns: {first_names(header)})"
        )
    lower = {name.strip().lower(): name for name in reversed(header)}
    found = next((lower[name] for name in USUAL_NAMES[what] if name in lower), None)
    if found is None and what != "split":
        no_header = any(os.path.splitext(name)[1].lower() in SUFFIXES for name in header)
        way = "write a first line such as path,label,split" if no_header else f"name it with data.{what}_column="
        raise DataError(f"{printable(file)} has no column of {what}s (its columns: {first_names(header)}): {way}")
    return found


def _read_text(file: Path) -> ListedColumns:
    """Read a file of separated values. Raises DataError with the line that is wrong."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            first = opened.readline()
            opened.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.reader(opened, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{printable(file)} cannot be read ({printable(reason)}): save it as CSV in UTF-8") from error
    header = rows[0][1] if rows else []
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{printable(file)}, line {line}: has {len(row)} values, the first line {len(header)}")
    by_column = dict(zip(header, zip(*(row for _, row in rows[1:]), strict=True), strict=False))
    return ListedColumns(header, [line for line, _ in rows[1:]], lambda name: by_column.get(name, ()))


def _read_parquet(file: Path) -> ListedColumns:
    """Open a Parquet file; its columns are read when they are asked for."""
    parquet = parquet_module()
    with reading_arrow(file):
        opened = parquet.ParquetFile(file)
        rows = opened.metadata.num_rows

    def column(name: str) -> Sequence[object]:
        with reading_arrow(file):
            read: list[object] = opened.read(columns=[name]).column(0).to_pylist()
        return read

    return ListedColumns(opened.schema_arrow.names, range(1, rows + 1), column)


def _rows(file: Path, table: ListedColumns, columns: Mapping[str, str | None]) -> list[ListedImage]:
    """Return all rows. Raises DataError for one without a path, a label or a split."""
    read = {what: table.column(name) if name else [ONE_SPLIT] * len(table.lines) for what, name in columns.items()}
    rows = []
    for line, *values in zip(table.lines, *(read[what] for what in USUAL_NAMES), strict=True):
        texts = ["" if value is None else str(value).strip() for value in values]
        if "" in texts:
            what = list(USUAL_NAMES)[texts.index("")]
            raise DataError(f"{printable(file)}, line {line}: has no {what}: correct the line, or remove it")
        rows.append(ListedImage(line, *texts))
    if not rows:
        raise DataError(f"{printable(file)} has no rows")
    return rows


# --- images ---


def _check_twice(file: Path, rows: Sequence[ListedImage]) -> None:
    known: dict[str, int] = {}
    for row in rows:
        if (before := known.setdefault(os.path.normpath(row.path), row.line)) != row.line:
            raise DataError(
                f"{printable(file)}, line {row.line}: '{printable(row.path)}' stands in line {before} too: remove one"
            )


def _labelled(file: Path, root: Path | ArchiveFolder, rows: Sequence[ListedImage]) -> Labelled:
    """Return the images of rows. Raises DataError for files that are not there."""
    where, spans = printable(file), None
    paths = (
        [f"{root}{os.sep}{row.path}" for row in rows]
        if isinstance(root, ArchiveFolder)
        else [os.path.join(root, row.path) for row in rows]
    )
    if isinstance(root, ArchiveFolder):
        known = {name: number for number, name in enumerate(root.archive.names)}
        members = [known.get(posixpath.normpath(posixpath.join(root.inside, row.path)), -1) for row in rows]
        missing = [row for row, member in zip(rows, members, strict=True) if member < 0]
        spans = root.archive.spans(np.array(members, np.int64))
    else:
        missing = [row for row, path in zip(rows, paths, strict=True) if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"{where}: {len(missing):,} of {len(rows):,} files are not in {printable(root)}: "
            f"{first_names([row.path for row in missing], 3)} (line {missing[0].line}); correct the paths, or name the "
            "folder or archive that they start from with data.root="
        )
    return Labelled(where, paths, [row.label for row in rows], spans)
