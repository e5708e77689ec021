"""Data sets of Hugging Face's library, from local files: saved with save_to_disk, Parquet files, or its cache.

The Arrow and Parquet files are read as they are, so that nothing is downloaded and no script of a data set is run.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Optional

import numpy as np

from bagoftricks.data.arrow import FileColumns, ImageTable, read_columns, read_images
from bagoftricks.data.containers import join_spans
from bagoftricks.data.labelled import Labelled, choose_splits, files_by_split, labelled_dataset
from bagoftricks.data.listing import Listing, first_names
from bagoftricks.data.sources import Dataset
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_folder, local_path
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

STATE, SPLITS = "state.json", "dataset_dict.json"  # of a data set, and of several splits, that were saved
LABEL_NAMES = ("label", "labels", "class", "category", "target")  # of columns without a declared type
NO_LABEL = -1  # of images whose labels are kept secret


@dataset(name="huggingface")
class HuggingFace(DataSettings):
    """A data set of Hugging Face's library from local files: save_to_disk, Parquet files, or the library's cache."""

    places: ClassVar[tuple[str, ...]] = (
        *DataSettings.places,
        *("image_column", "label_column", "train_split", "val_split"),
    )

    root: Optional[str] = None
    """folder of save_to_disk, folder of Parquet or Arrow files, such a file, or the id of a data set in the cache"""
    image_column: Optional[str] = None
    """column of images; default: the one of this type"""
    label_column: Optional[str] = None
    """column of labels; default: the one of type ClassLabel, else label, class, category or target"""
    train_split: Optional[str] = None
    """split to train on; default: train"""
    val_split: Optional[str] = None
    """split to validate on; default: validation, else test"""

    def find(self) -> Dataset:
        if self.root is None:
            raise DataError(
                "data.root is not set: type data.root=FOLDER, where save_to_disk or a download left its files"
            )
        root = local_data("data.root", self.root)
        files = split_files(root)
        names = choose_splits(printable(root), files, self.train_split, self.val_split, holdout=bool(self.holdout))
        columns = read_columns(files[names[0]][0])
        image = _chosen(
            root, "image", self.image_column, _declared(columns, "Image") or columns.of_bytes, columns.of_bytes
        )
        labels = _declared(columns, "ClassLabel") or [name for name in LABEL_NAMES if name in columns.names][:1]
        label = _chosen(root, "label", self.label_column, labels, columns.names)
        train, val = (None if name is None else _labelled(root, name, files[name], (image, label)) for name in names)
        assert train is not None
        return labelled_dataset(self.name, Listing(root=str(root)), train, val, classes=_class_names(columns, label))


# --- files ---


def local_data(name: str, value: str) -> Path:
    """Return the folder or file that the user typed, or that of a data set's id in the cache. Raises DataError."""
    path = local_path(name, value).absolute()
    if path.exists():
        return path
    owner, _, own = value.partition("/")
    if own and "/" not in own:
        home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
        downloaded = home / "hub" / f"datasets--{owner}--{own}"
        if (revision := downloaded / "refs" / "main").is_file():
            return downloaded / "snapshots" / Path(revision.read_text(encoding="utf-8").strip()).name
        if (prepared := home / "datasets" / f"{owner}___{own}").is_dir():
            return prepared
        if not path.parent.is_dir():
            raise DataError(
                f"{name}={printable(value)}: no such folder, and no data set of this id in {printable(home)}: nothing "
                f"is downloaded here; type hf download --repo-type dataset {printable(value)}"
            )
    return local_folder(name, value)


def split_files(root: Path) -> dict[str, list[Path]]:
    """Return the Arrow or Parquet files of each split. Raises DataError for none, or for those of several data sets."""
    if root.is_file():
        return files_by_split([root], root.parent)
    if (root / SPLITS).is_file():
        names, _ = _saved(root / SPLITS)
        return {name: _saved_files(local_folder("data.root", root / name)) for name in names}
    if (root / STATE).is_file():
        return {_saved(root / STATE)[1]: _saved_files(root)}
    known = [file for file in root.rglob("*") if file.suffix in (".arrow", ".parquet") and file.is_file()]
    known = [file for file in known if not file.name.startswith(("cache-", ".", "tmp"))]
    if not known:
        raise DataError(
            f"{printable(root)} has no Arrow or Parquet files: name the folder of save_to_disk or of a download"
        )
    found = files_by_split(known, root)
    for name, files in found.items():
        if len(folders := list(dict.fromkeys(file.parent for file in files))) > 1:
            shown = first_names([str(folder.relative_to(root)) for folder in folders])
            raise DataError(
                f"{printable(root)}: the split '{printable(name)}' has files in {len(folders)} folders ({shown}): type "
                "data.root= with one of them"
            )
    return found


def _saved_files(folder: Path) -> list[Path]:
    """Return the files of a saved split, in their order."""
    names, _ = _saved(folder / STATE)
    return [folder / name for name in names]


def _saved(file: Path) -> tuple[list[str], str]:
    """Return the files or folders that a file of save_to_disk names, and the split. Raises DataError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        names = found["splits"] if file.name == SPLITS else [each["filename"] for each in found["_data_files"]]
        if not names or not all(Path(name).name == name for name in names):
            raise ValueError("it must name files or folders next to it")
        selected, split = found.get("_indices_data_files"), str(found.get("_split") or "train")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{printable(file)} cannot be read ({printable(error)}): save the data set again") from error
    if selected:
        raise DataError(f"{printable(file)}: a selection of rows was saved: call flatten_indices() and save it again")
    return names, split


# --- columns ---


def _declared(columns: FileColumns, kind: str) -> list[str]:
    """Return the columns that are declared to be of a type of the library."""
    return [name for name in columns.names if columns.features.get(name, {}).get("_type") == kind]


def _chosen(root: Path, what: str, typed: str | None, found: Sequence[str], usable: Sequence[str]) -> str:
    """Return the one column that is meant. Raises DataError for none or several."""
    if typed is not None:
        if typed not in usable:
            raise DataError(
                f"data.{what}_column={printable(typed)}: {printable(root)} has no such column of {what}s"
                f"{did_you_mean(typed, usable)} (it has {first_names(usable)})"
            )
        return typed
    if len(found) != 1:
        has = f"several columns of {what}s ({first_names(found)})" if found else f"no column of {what}s"
        raise DataError(
            f"{printable(root)} has {has}: name one with data.{what}_column= (it has {first_names(usable)})"
        )
    return found[0]


def _class_names(columns: FileColumns, label: str) -> list[str] | None:
    names = columns.features.get(label, {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


# --- images ---


def _labelled(root: Path, name: str, files: Sequence[Path], columns: tuple[str, str]) -> Labelled:
    """Return the images of a split. Raises DataError for those without a label or without bytes."""
    tables = [read_images(file, *columns) for file in files]
    spans, where = join_spans([table.spans for table in tables]), f"the split '{printable(name)}' of {printable(root)}"
    labels = [label for table in tables for label in table.labels]
    if none := sum(label is None or label == NO_LABEL for label in labels):
        raise DataError(f"{where}: {none:,} of {len(labels):,} images have no label: name another with data.val_split=")
    paths = [path for file, table in zip(files, tables, strict=True) for path in _names(file, table)]
    missing = [path for path in np.array(paths)[spans.table[:, 0] < 0].tolist() if not os.path.isfile(path)]
    if missing:
        raise DataError(f"{where}: {len(missing):,} images are not in it and not there ({first_names(missing, 1)})")
    return Labelled(where, paths, labels, spans)


def _names(file: Path, table: ImageTable) -> list[str]:
    """Return the name of each image: its file and row, or its own path where it is not in the file."""
    inside = (table.spans.table[:, 0] >= 0).tolist()
    rows = enumerate(zip(table.paths, inside, strict=True))
    return [
        f"{file}/row {row}" if is_in else os.path.join(file.parent, path or f"row {row}") for row, (path, is_in) in rows
    ]
