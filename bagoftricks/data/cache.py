"""Decoded images kept for the next epoch, in memory that workers share or in a file, and small data sets kept whole.

A cache changes no result: what it gives is what the decoder gave, and what does not fit is decoded again. It is bounded
by a share of the free space at its beginning. On disk, its name is a digest of every file's path, size and time, so
that a changed folder has a new one; a damaged entry is noticed by its checksum and decoded again. It holds no code.
"""

import json
import mmap
import multiprocessing
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bagoftricks.data.containers import file_facts
from bagoftricks.data.decode import POLICY
from bagoftricks.data.digests import replace_file
from bagoftricks.data.sources import CachedSplit, FileSplit, KeptSplit, Labels, MemorySplit, Split
from bagoftricks.errors import UserError
from bagoftricks.folders import cache_folder
from bagoftricks.system import HAS_LOCKS, can_fork, locked_by_process, physical_memory_bytes

SHARE = 3  # a cache takes at most one of so many parts of the free space
CACHE_FORMAT = 2  # raise it when an older version could misread the files
DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)  # what reading a set can raise
SMALL_SET = 2**30  # bytes of a data set that is kept whole on disk unless data.cache=none
USED, OFFSET, HEIGHT, WIDTH, CHECKSUM = 1, 0, 1, 2, 3  # columns: of the first row, and of an image's
Made = tuple[MemorySplit, list[str], Labels]


class Arena:
    """Room for decoded images, filled from its beginning by several processes at once.

    ``index`` has a row for each image (offset + 1 or 0, height, width, checksum) below one for the bytes in use.
    """

    def __init__(self, count: int, capacity: int, folder: Path | None = None, name: str = "") -> None:
        """Lie in memory, for processes forked from this one; or in ``folder``, for any."""
        rows = 8 * 4 * (count + 1)
        self.file: int | None = None
        if folder is None:
            self.pixels = mmap.mmap(-1, max(capacity, 1))
            memory = mmap.mmap(-1, rows)
            self.mutex = multiprocessing.get_context("fork").Lock()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = _opened(folder / f"{name}.pixels", capacity, filled=False)
            index = _opened(folder / f"{name}.index", rows, filled=True)
            self.pixels = mmap.mmap(self.file, 0, access=mmap.ACCESS_READ)
            memory = mmap.mmap(index, rows)
            os.close(index)
        self.capacity = len(self.pixels)
        self.index: npt.NDArray[np.int64] = np.frombuffer(memory, np.int64).reshape(count + 1, 4)
        self.checked = np.zeros(count, bool)

    def get(self, image: int) -> UInt8[Tensor, "3 H W"] | None:
        """Return the pixels that were put, None if there are none or they are damaged."""
        offset, height, width, checksum = (int(value) for value in self.index[image + 1])
        size, start = 3 * height * width, offset - 1
        if offset == 0 or min(height, width, offset) < 1 or start + size > self.capacity:
            return None
        pixels = np.frombuffer(self.pixels, np.uint8, size, start).copy()
        if not self.checked[image]:
            if _image_checksum(image, (height, width), pixels) != checksum:
                self.index[image + 1, OFFSET] = 0
                return None
            self.checked[image] = True
        return torch.from_numpy(pixels.reshape(height, width, 3)).permute(2, 0, 1)

    def put(self, image: int, pixels: UInt8[Tensor, "3 H W"]) -> None:
        """Keep an image, unless there is no room left."""
        rows = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        with self._alone():
            start, row = int(self.index[0, USED]), self.index[image + 1]
            if row[OFFSET] or not 0 <= start <= self.capacity - rows.nbytes:
                return
            self.index[0, USED] += rows.nbytes
        try:
            self._write(rows, start)
        except OSError:  # the disk is full after all
            return
        row[[HEIGHT, WIDTH, CHECKSUM]] = *rows.shape[:2], _image_checksum(image, rows.shape[:2], rows)
        row[OFFSET] = start + 1  # last: from now on others see it

    def _write(self, rows: npt.NDArray[np.uint8], start: int) -> None:
        if self.file is None:
            self.pixels[start : start + rows.nbytes] = rows.tobytes()
            return
        data = rows.data.cast("B")
        while data:
            written = os.pwrite(self.file, data, start)
            data, start = data[written:], start + written

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self.file is None:
            with self.mutex:
                yield
            return
        with locked_by_process(self.file):
            yield


def _image_checksum(image: int, sides: tuple[int, ...], pixels: npt.NDArray[np.uint8]) -> int:
    """Return a checksum of an image's bytes, and of whose they are and how they lie."""
    return zlib.crc32(pixels.data, zlib.crc32(f"{image} {sides}".encode()))


def _opened(path: Path, size: int, *, filled: bool) -> int:
    """Open a file of at least ``size`` bytes; ``filled``: with room on the disk for all of them, for a writable map."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with locked_by_process(file):
        have = os.fstat(file).st_size
        if have < size:
            os.pwrite(file, bytes(size - have), have) if filled else os.ftruncate(file, size)
    return file


def cached(split: Split, how: str, ranks: int = 1) -> Split:
    """Return the split with a cache of its decoded images, ``how`` ram or disk; unchanged if it has no files.

    Of a run's ``ranks`` on this machine, each has memory of its own; what is on disk is for all.
    """
    files = split.split if isinstance(split, KeptSplit) else split
    if how not in ("ram", "disk") or not isinstance(files, FileSplit) or files.masks is not None:
        return split  # an arena has colours alone
    if not (can_fork() and HAS_LOCKS):
        needs = f"needs forked processes and file locks, which {sys.platform} does not have"
        raise UserError(f"data.cache={how}: {needs}: type data.cache=none")
    try:
        name = files_digest(files)
    except OSError:  # a file is gone: its decoder reports that
        return split
    return CachedSplit(files, _arena(how, name, len(files.labels), ranks if how == "ram" else 1))


def cache_note(how: str) -> str:
    """Return a line about the place of the decoded images and their number at most."""
    place = "memory" if how == "ram" else cache_folder() / "images"
    room = f"up to {free_bytes(how) / SHARE / 2**30:.1f} GiB for each split"
    return f"data.cache={how}: decoded images are kept in {place}, {room}"


@lru_cache(maxsize=2)  # a run's two splits; the next run of the process finds them
def _arena(how: str, name: str, count: int, ranks: int) -> Arena:
    capacity = free_bytes(how) // SHARE // ranks
    if how == "ram":
        return Arena(count, capacity)
    folder = cache_folder() / "images"
    try:
        return Arena(count, capacity, folder, name)
    except OSError as error:
        raise UserError(
            f"data.cache=disk: {folder} cannot be written ({error.strerror}): name another folder with the variable "
            "XDG_CACHE_HOME, or type data.cache=ram"
        ) from error


def free_bytes(how: str) -> int:
    """Return the free bytes of memory, or of the disk that holds the cache folder."""
    if how == "disk":
        place = next(folder for folder in (cache_folder(), *cache_folder().parents) if folder.exists())
        return shutil.disk_usage(place).free
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return physical_memory_bytes() // 2


def files_digest(files: FileSplit, *how: object) -> str:
    """Return a digest of the files' paths, sizes and times, the decoders' versions, and what else decides pixels."""
    digest = blake2b(digest_size=16)
    decoders = [CACHE_FORMAT, POLICY, files.max_pixels, version("torch"), version("torchvision"), version("pillow")]
    digest.update(repr([*decoders, *how]).encode())
    for place in files.places():
        if isinstance(place, str):
            digest.update(os.fsencode(os.path.abspath(place)) + b"\0" + file_facts(os.stat(place)))
        else:
            digest.update(repr(place).encode())
    return digest.hexdigest()


def kept_whole(files: FileSplit, how: object, make: Callable[[], Made]) -> Made:
    """Return the images of a small data set from the cache folder; call ``make`` for them if they are not there."""
    try:
        place = cache_folder() / "sets" / f"{files_digest(files, how)}.safetensors"
    except OSError:  # a file is gone: its decoder reports that
        return make()
    with suppress(*DAMAGED):
        return _read_set(place, files)
    made = make()
    if made[0].images.nbytes <= SMALL_SET:
        with suppress(OSError):  # a full or read-only disk is no reason to stop
            _write_set(place, made)
    return made


def _read_set(place: Path, files: FileSplit) -> Made:
    if not place.is_file():  # a pipe would be waited for
        raise ValueError("no file")
    with safe_open(place, "pt") as opened:
        pixels, rows, about = opened.get_tensor("pixels"), opened.get_tensor("rows").numpy(), opened.metadata()
    if _checksum(pixels, rows, about["skipped"]) != about["checksum"]:
        raise ValueError("damaged")
    boxes = None if files.boxes is None else files.boxes[rows]
    return MemorySplit(pixels.permute(0, 3, 1, 2), files.labels[rows], boxes), json.loads(about["skipped"]), rows


def _write_set(place: Path, made: Made) -> None:
    loaded, skipped, rows = made
    pixels, text = loaded.images.permute(0, 2, 3, 1).contiguous(), json.dumps(skipped)
    about = {"skipped": text, "checksum": _checksum(pixels, rows, text)}
    replace_file(place, save({"pixels": pixels, "rows": torch.from_numpy(rows)}, about))


def _checksum(pixels: Tensor, rows: Labels, skipped: str) -> str:
    """Return a checksum of the bytes, and of what they mean."""
    meaning = repr((tuple(pixels.shape), str(pixels.dtype), rows.shape, str(rows.dtype), skipped))
    return str(zlib.crc32(rows.data, zlib.crc32(pixels.numpy().data, zlib.crc32(meaning.encode()))))
