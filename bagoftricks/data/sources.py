"""Find a data set: where its images are, what their labels are, and a digest of what they hold.

A split either has all its images in memory or reads them from files; the loaders treat both alike.
"""

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.decode import SUFFIXES, decode
from bagoftricks.errors import DataError, did_you_mean
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings

Labels = npt.NDArray[np.int64]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bagoftricks"


@dataclass(frozen=True)
class MemorySplit:
    """Images of one size, all in memory; in channels_last, batches of them need no turning round."""

    images: UInt8[Tensor, "N 3 H W"]
    labels: Labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return self.images[index].contiguous()

    def path(self, index: int) -> str | None:
        """The file an image is decoded from, if it is."""
        return None

    def subset(self, rows: Labels) -> "MemorySplit":
        return MemorySplit(self.images[torch.from_numpy(rows)], self.labels[rows])


@dataclass(frozen=True)
class FileSplit:
    """Images in files, decoded when they are asked for."""

    paths: npt.NDArray[Any]  # of str: forked workers share an array, but copy a list bit by bit
    labels: Labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return decode(str(self.paths[index]))

    def path(self, index: int) -> str | None:
        return str(self.paths[index])

    def subset(self, rows: Labels) -> "FileSplit":
        return FileSplit(self.paths[rows], self.labels[rows])


@dataclass
class KeptSplit:
    """A split that remembers what was last made of all its images, and how, for several runs in one process."""

    split: "Split"
    how: object = None
    made: tuple[MemorySplit, list[str], Labels] | None = None

    @property
    def labels(self) -> Labels:
        return self.split.labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        return self.split.image(index)

    def path(self, index: int) -> str | None:
        return self.split.path(index)

    def subset(self, rows: Labels) -> "Split":
        return self.split.subset(rows)


@runtime_checkable
class DecodedImages(Protocol):
    """Room for decoded images, by their number."""

    def get(self, image: int) -> UInt8[Tensor, "3 H W"] | None: ...

    def put(self, image: int, pixels: UInt8[Tensor, "3 H W"]) -> None: ...


@dataclass(frozen=True)
class CachedSplit:
    """Files whose decoded images are kept as far as there is room."""

    files: FileSplit
    arena: DecodedImages

    @property
    def labels(self) -> Labels:
        return self.files.labels

    def image(self, index: int) -> UInt8[Tensor, "3 H W"]:
        kept = self.arena.get(index)
        if kept is None:
            kept = self.files.image(index)
            self.arena.put(index, kept)
        return kept

    def path(self, index: int) -> str | None:
        return self.files.path(index)

    def subset(self, rows: Labels) -> "Split":
        return self.files.subset(rows)


Split = MemorySplit | FileSplit | KeptSplit | CachedSplit


@dataclass(frozen=True)
class Dataset:
    """The two splits of a data set. ``digest`` names its content: pixels, or for folders paths and file sizes."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    digest: str


def find_dataset(settings: DataSettings) -> Dataset:
    """The data set of these settings, its files not yet decoded. Raises DataError where there is none."""
    if settings.name == "imagefolder":
        found = image_folder(settings)
    elif settings.name == "digits":
        found = digits()
    else:
        found = cifar(settings)
    found = hold_out(found, settings.holdout) if settings.holdout else found
    return found if settings.limit is None else limited(found, settings.limit)


def limited(data: Dataset, count: int) -> Dataset:
    """At most ``count`` images of each split, for a quick try; the same ones for every seed."""

    def some(split: Split, name: str) -> Split:
        rows = Key(0).fold("limit", name).numpy().permutation(len(split.labels))[:count]
        return split.subset(np.sort(rows))

    return replace(data, train=some(data.train, "train"), val=some(data.val, "val"), digest=f"{data.digest}/{count}")


def hold_out(data: Dataset, share: float) -> Dataset:
    """Validate on a part of the training images instead; the part is the same for every seed."""
    count = len(data.train.labels)
    rows = Key(0).fold("holdout").numpy().permutation(count)
    held = round(share * count)
    if not 0 < held < count:
        raise DataError(f"data.holdout={share}: leaves nothing on one side of {count} training images")
    train, val = np.sort(rows[held:]), np.sort(rows[:held])
    return Dataset(
        data.name, data.classes, data.train.subset(train), data.train.subset(val), f"{data.digest}-{share:g}"
    )


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits (UCI, 8x8, 17 grey levels): a fixed fifth of them for validation."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    grey = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    colours = grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    whole = MemorySplit(colours, labels.astype(np.int64))
    rows = Key(0).fold("digits").numpy().permutation(len(labels))
    val, train = np.sort(rows[: len(rows) // 5]), np.sort(rows[len(rows) // 5 :])
    names = tuple(str(digit) for digit in range(10))
    return Dataset("digits", names, whole.subset(train), whole.subset(val), _memory_digest(whole))


def cifar(settings: DataSettings) -> Dataset:
    """CIFAR-10 or -100 through torchvision, downloaded to ``data.root`` when it is not there."""
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[settings.name]
    root = Path(settings.root).expanduser() if settings.root else CACHE
    try:
        with redirect_stdout(sys.stderr):  # torchvision announces what it extracts
            parts = [kind(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{settings.name} is not in {root} and could not be downloaded ({_first_line(error)}): put the extracted "
            f"{kind.base_folder} folder there, name the folder that holds it with data.root=, "
            "or use data=imagefolder for a folder of images per class"
        ) from error
    train, val = (
        MemorySplit(torch.from_numpy(part.data).permute(0, 3, 1, 2), np.asarray(part.targets, np.int64))
        for part in parts
    )
    return Dataset(settings.name, tuple(parts[0].classes), train, val, _memory_digest(train, val))


def image_folder(settings: DataSettings) -> Dataset:
    """A folder per class: ``root/train`` with ``root/val`` or ``root/test``, or the classes at once below root."""
    root = _folder("data.root", settings.root)
    train_root = root / "train" if (root / "train").is_dir() else root
    beside = [root / name for name in ("val", "validation", "test") if train_root != root and (root / name).is_dir()]
    val_root = _folder("data.val_root", settings.val_root) if settings.val_root else next(iter(beside), None)
    if val_root is None and not settings.holdout:
        raise DataError(
            f"{root} has no val/ or test/ beside train/: hold out a share with data.holdout=0.2, "
            "or name a second folder with data.val_root="
        )
    classes = _class_names(train_root)
    digest = blake2b(digest_size=16)
    train = _list_files(train_root, classes, digest)
    val = _list_files(val_root, classes, digest) if val_root else train.subset(np.array([], np.int64))
    return Dataset("imagefolder", classes, train, val, digest.hexdigest())


def _folder(name: str, value: str | None) -> Path:
    if value is None:
        raise DataError(f"{name} is not set: type {name}=FOLDER, a folder with a subfolder of images per class")
    folder = Path(value).expanduser()
    if folder.is_dir():
        return folder
    near = did_you_mean(folder.name, [f.name for f in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
    raise DataError(f"{name}={value}: no such folder{near}")


def _class_names(root: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{root} has no subfolders: put the images of each class into a folder of its own")
    return tuple(names)


def _list_files(root: Path, classes: tuple[str, ...], digest: blake2b) -> FileSplit:
    """All image files below ``root/<class>``, sorted; their relative paths and sizes go into ``digest``."""
    strangers = [name for name in _class_names(root) if name not in classes]
    if strangers:
        raise DataError(f"{root}/{strangers[0]}: the training images have no class '{strangers[0]}'")
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for folder, _, files in sorted(os.walk(root / name)):
            below = os.path.relpath(folder, root)
            for file in sorted(files):
                if os.path.splitext(file)[1].lower() in SUFFIXES:
                    path = f"{folder}{os.sep}{file}"
                    digest.update(f"{below}{os.sep}{file}\0{os.stat(path).st_size}\n".encode())
                    paths.append(path)
                    labels.append(label)
    if not paths:
        raise DataError(f"{root} holds no images ({', '.join(sorted(SUFFIXES))}) in its classes' folders")
    return FileSplit(np.array(paths), np.array(labels, np.int64))


def _memory_digest(*splits: MemorySplit) -> str:
    digest = blake2b(digest_size=16)
    for split in splits:
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.data)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
