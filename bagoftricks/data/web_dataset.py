"""Shards of webdataset: tar archives of samples, whose members are a key with a suffix each. Read at their places."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple, Optional

import numpy as np

from bagoftricks.data.archives import Archive, read_archive
from bagoftricks.data.containers import join_spans, span_bytes
from bagoftricks.data.decode import SUFFIXES
from bagoftricks.data.labelled import (
    Label,
    Labelled,
    choose_splits,
    files_by_split,
    labelled_dataset,
    read_classes,
)
from bagoftricks.data.listing import Listing, first_names
from bagoftricks.data.sources import Dataset
from bagoftricks.errors import DataError, printable
from bagoftricks.folders import local_folder
from bagoftricks.registry import dataset
from bagoftricks.settings import DataSettings

# ruff: noqa: UP045 (OmegaConf reads Optional)

MOST_LABEL_BYTES = 2**20  # of a member that holds a label
SHARDS = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")  # the compressed ones are refused with what to type


class ShardImage(NamedTuple):
    """One image of a shard with the rows of its members."""

    key: str
    image: int
    label: int | None


@dataset(name="webdataset")
class WebDataset(DataSettings):
    """Shards of webdataset: train-*.tar and val-*.tar with members KEY.jpg and KEY.cls, or KEY.json with a label."""

    places: ClassVar[tuple[str, ...]] = (
        *DataSettings.places,
        *("image_suffix", "label_suffix", "label_key", "train_split", "val_split"),
    )

    root: Optional[str] = None
    """folder of the shards, train-*.tar and val-*.tar; classes.txt in it names numbered classes"""
    image_suffix: Optional[str] = None
    """suffix of the images after the key, as jpg; default: the one that is an image's"""
    label_suffix: Optional[str] = None
    """suffix of the labels after the key; default: cls, else json"""
    label_key: str = "label"
    """name of the label in a json"""
    train_split: Optional[str] = None
    """shards to train on, by the first part of their names; default: train"""
    val_split: Optional[str] = None
    """shards to validate on; default: val, valid, validation, dev, else test or eval"""

    def find(self) -> Dataset:
        if self.root is None:
            raise DataError("data.root is not set: type data.root=FOLDER, a folder of shards such as train-000000.tar")
        root = local_folder("data.root", self.root).absolute()
        files = [file for file in root.rglob("*") if file.suffix in SHARDS and not file.name.startswith(".")]
        if not files:
            raise DataError(f"{printable(root)} has no tar archives: name the folder of the shards")
        shards = files_by_split(files, root)
        names = choose_splits(printable(root), shards, self.train_split, self.val_split, holdout=bool(self.holdout))
        ignored, warnings = Counter[str](), list[str]()
        train, val = (None if name is None else self._labelled(shards[name], ignored, warnings) for name in names)
        assert train is not None
        listing = Listing(root=str(root), ignored=ignored)
        return labelled_dataset(self.name, listing, train, val, classes=read_classes(root), warnings=warnings)

    def _labelled(self, shards: list[Path], ignored: Counter[str], warnings: list[str]) -> Labelled:
        """Return the images of some shards, counting members that are neither images nor labels."""
        paths, labels, spans = list[str](), list[Label](), []
        for shard in shards:
            archive = read_archive(str(shard))
            samples = list(self._samples(shard, archive, ignored))
            if without := [sample.key for sample in samples if sample.label is None]:
                suffixes = self.label_suffix or ".cls or .json"
                raise DataError(
                    f"{printable(shard)}: {len(without):,} images have no label ({first_names(without, 3)}): each "
                    f"needs a member KEY{suffixes}, or name its suffix with data.label_suffix="
                )
            paths += [f"{shard}/{archive.names[sample.image]}" for sample in samples]
            labels += [self._label(shard, archive, sample.label) for sample in samples if sample.label is not None]
            spans.append(archive.spans(np.array([sample.image for sample in samples], np.int64)))
            if archive.repeated:
                warnings.append(f"{printable(shard)}: {archive.repeated:,} names occur twice: the last counts")
        if not paths:
            raise DataError(f"{printable(shards[0])} and the {len(shards) - 1} shards after it hold no images")
        return Labelled(f"the shards {printable(shards[0].name)} ...", paths, labels, join_spans(spans))

    def _samples(self, shard: Path, archive: Archive, ignored: Counter[str]) -> Iterator[ShardImage]:
        """Yield the images of a shard, in their order, with the member that has the label of each."""
        groups: dict[str, dict[str, int]] = {}
        for row, name in enumerate(archive.names):
            folder, _, last = name.rpartition("/")
            own, _, suffix = last.partition(".")
            if own:  # else a hidden file
                groups.setdefault(f"{folder}/{own}".lstrip("/"), {})[suffix.lower()] = row
        for key, members in groups.items():
            images = [suffix for suffix in members if self._is_image(suffix)]
            if len(images) > 1:
                raise DataError(
                    f"{printable(shard)}: '{printable(key)}' has several images ({first_names(images)}): name the "
                    "suffix of the one that is meant with data.image_suffix="
                )
            labels = [self.label_suffix.lstrip(".").lower()] if self.label_suffix else ["cls", "json"]
            label = next((suffix for suffix in labels if suffix in members), None)
            ignored.update(f".{suffix}" for suffix in members if suffix not in (*images, label))
            if images:
                yield ShardImage(key, members[images[0]], None if label is None else members[label])

    def _is_image(self, suffix: str) -> bool:
        if self.image_suffix is not None:
            return suffix == self.image_suffix.lstrip(".").lower()
        return f".{suffix.rpartition('.')[2]}" in SUFFIXES

    def _label(self, shard: Path, archive: Archive, row: int) -> Label:
        """Return the label that a member holds. Raises DataError for one that is no name and no number."""
        name, span = archive.names[row], archive.spans(np.array([row]))[0]
        assert span is not None
        try:
            if span.size > MOST_LABEL_BYTES:
                raise ValueError(f"{span.size:,} bytes, too many for a label")
            text = span_bytes(span).decode("utf-8").strip()
            found = json.loads(text)[self.label_key] if name.lower().endswith("json") else text
            if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
                raise ValueError("neither a name nor a number")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no '{self.label_key}' in it" if isinstance(error, KeyError | TypeError) else printable(error)
            raise DataError(f"{printable(shard)}/{printable(name)} holds no label ({reason})") from error
        return found
