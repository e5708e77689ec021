"""Files that hold many images, and the places of the images in them: read at any place, never unpacked.

A zip or tar archive and an Arrow file are containers. Their bytes are read with pread, which has no position that
threads or forked workers would share.
"""

import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bagoftricks.errors import VanishedError, printable
from bagoftricks.system import AS_IT_IS, NO_WAIT, NOT_INHERITED, read_at

READ_BYTES = 2**20  # that are read or inflated at a time
MOST_OPEN = 64  # containers that a process keeps open
TICK = 2 * 10**9  # nanoseconds of the coarsest clock of a file system
NO_CHECKSUM = -1
REGULAR = os.O_RDONLY | NO_WAIT | NOT_INHERITED | AS_IT_IS  # a pipe is not waited for


class Container(NamedTuple):
    """A container as it was when its index was read."""

    path: str
    facts: bytes  # as of file_facts
    changed: int  # time of the last change in nanoseconds

    @property
    def settled(self) -> bool:
        """True if a later change has another time."""
        return is_settled(self.changed)


class Span(NamedTuple):
    """The bytes of one image in a container."""

    container: Container
    start: int
    stored: int  # bytes there
    size: int  # bytes of the image
    deflated: bool = False
    checksum: int = NO_CHECKSUM  # CRC-32 of the image


@dataclass(frozen=True)
class Spans:
    """The spans of many images, as a table that forked workers share."""

    containers: tuple[Container, ...]
    table: npt.NDArray[np.int64]  # (N, 6): number of the container or -1, and the other fields of a Span

    def __getitem__(self, row: int) -> Span | None:
        """Return the span of an image, None for one in a file of its own."""
        number, start, stored, size, deflated, checksum = self.table[row].tolist()
        return None if number < 0 else Span(self.containers[number], start, stored, size, bool(deflated), checksum)

    def subset(self, rows: npt.NDArray[np.int64]) -> "Spans":
        return replace(self, table=self.table[rows])


def join_spans(parts: Sequence[Spans]) -> Spans:
    """Return the spans of several tables, one after the other."""
    counts = np.cumsum([0, *(len(part.containers) for part in parts)])
    tables = [np.array(part.table) for part in parts]
    for table, first in zip(tables, counts[:-1], strict=True):
        table[table[:, 0] >= 0, 0] += first
    containers = tuple(container for part in parts for container in part.containers)
    return Spans(containers, np.concatenate([np.empty((0, 6), np.int64), *tables]))


def open_container(path: str) -> Container:
    """Return a container by its present state. Raises OSError, ValueError for what is no regular file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    return Container(path, file_facts(status), status.st_ctime_ns)


def file_facts(status: os.stat_result) -> bytes:
    """Return the digest of a file's inode, size and times: another after any change of it, and of any other file."""
    facts = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    return blake2b(facts.encode(), digest_size=16).digest()


def is_settled(changed: int, now: int | None = None) -> bool:
    """Return True if a file that changed at this time (nanoseconds) has another time after any change from now on."""
    return changed < (time.time_ns() if now is None else now) - TICK


def span_bytes(span: Span) -> bytearray:
    """Return the bytes of an image. Raises as span_blocks does."""
    data = bytearray()
    for block in span_blocks(span):
        data += block
    return data


def span_blocks(span: Span) -> Iterator[bytes]:
    """Yield the bytes of an image. Raises OSError, ValueError unless they are what the container declares."""
    made, checksum = 0, 0
    for block in _inflated(_raw_blocks(span)) if span.deflated else _raw_blocks(span):
        made += len(block)
        if made > span.size:
            break  # a bomb declares less than it holds
        if span.checksum != NO_CHECKSUM:
            checksum = zlib.crc32(block, checksum)
        yield block
    if made != span.size:
        raise ValueError(f"the archive declares {span.size:,} bytes and holds {'more' if made > span.size else 'less'}")
    if span.checksum not in (NO_CHECKSUM, checksum):
        raise ValueError("damaged: it is not what the archive's checksum says")


def _raw_blocks(span: Span) -> Iterator[bytes]:
    opened, at, end = _opened(span.container), span.start, span.start + span.stored
    while at < end:
        block = read_at(opened.descriptor, min(end - at, READ_BYTES), at)
        if not block:
            raise ValueError("the archive ends within it")
        at += len(block)
        yield block


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what was deflated, READ_BYTES at a time at most, however much a block becomes."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for raw in blocks:
            while True:
                made = inflate.decompress(raw, READ_BYTES)
                yield made
                raw = inflate.unconsumed_tail
                if not raw and len(made) < READ_BYTES:
                    break
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if not inflate.eof:
        raise ValueError("damaged: its compressed bytes have no end")


class _Opened:
    """An open container, closed with the last reader that knows it."""

    def __init__(self, container: Container) -> None:
        self.descriptor = os.open(container.path, REGULAR)
        if file_facts(os.fstat(self.descriptor)) != container.facts:
            raise VanishedError(f"{printable(container.path)} was changed while it was in use: type the command again")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at exit, os may be gone before
        if hasattr(self, "descriptor"):
            close(self.descriptor)


@lru_cache(maxsize=MOST_OPEN)
def _opened(container: Container) -> _Opened:
    return _Opened(container)
