"""Image files: what a file is, told by its first bytes and never by its name. Nothing is decoded here.

The bytes are those of a file, or of a span of a container.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from bagoftricks.data.containers import REGULAR, Span, span_bytes
from bagoftricks.errors import DataError, VanishedError, printable
from bagoftricks.settings import MAX_PIXELS

FORMATS = {  # that are read, with their first bytes
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PPM": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
}
READ = ", ".join(FORMATS) + " and WebP"
FOREIGN = (  # what else is found under the name of an image: offset, bytes, name
    (0, b"version https://git-lfs", "a pointer of Git LFS: type git lfs pull"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC or AVIF"),
    (4, b"ftyp", "a film"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (128, b"DICM", "DICOM"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, bytes(64), "zeros"),
)
FILE_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of JPEG; the three are of tables
PARAMETERLESS = frozenset((0x01, *range(0xD0, 0xDA)))
MOST_BYTES = 2**31 - 1  # of a file: no image within any sensible data.max_pixels has more
SKIP_ADVICE = "remove it, or set data.on_error=skip"
NO_FAULT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class NoImage(Exception):
    """Reason why a file is no image that is read; becomes a DataError that names the file."""


@dataclass(frozen=True)
class ImageFile:
    """An image file, the most pixels that it may have, and what to do about a broken one.

    ``path`` is the file's, or the name of an image in a container, which has a ``span``.
    """

    path: str
    max_pixels: int = MAX_PIXELS
    advice: str = SKIP_ADVICE
    span: Span | None = None

    def read(self) -> tuple[str, bytearray]:
        """Return the format and the bytes. Raises DataError unless this is a regular file of a format that is read."""
        with self.naming():
            data = _regular_bytes(self.path) if self.span is None else _bytes_in_container(self.span)
            return image_format(data), data

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Raise DataError that names this file for whatever a decoder raises at it."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # decoders raise a dozen kinds, from SyntaxError to struct.error
            raise self.error(error) from error

    def error(self, error: Exception) -> DataError:
        """Return the error of a file that is no image, or that was removed after its folder was listed."""
        name = printable(self.path)
        if isinstance(error, OSError) and error.errno in NO_FAULT_OF_THE_FILE:
            raise error
        if not os.path.lexists(self.path if self.span is None else self.span.container.path):
            if getattr(error, "errno", None) not in (None, errno.ENOENT):
                return VanishedError(f"{name} cannot be reached ({_reason(error)}): may its folder be entered?")
            return VanishedError(f"{name} has vanished since the run began: is the folder still there, and its disk?")
        reason = "a link that leads nowhere" if isinstance(error, FileNotFoundError) else _reason(error)
        return DataError(f"{name} cannot be read as an image ({reason}): {self.advice}")

    def check_size(self, width: int, height: int) -> None:
        """Raise NoImage for more pixels than are allowed."""
        if width * height > self.max_pixels:
            raise NoImage(
                f"{width:,} x {height:,} = {width * height} pixels, more than data.max_pixels={self.max_pixels}"
            )


def skipped_line(error: DataError) -> str:
    """Return the line about an image that was skipped, without the advice to do so."""
    return str(error).removesuffix(f": {SKIP_ADVICE}")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return printable(text) if text else type(error).__name__


def _regular_bytes(path: str) -> bytearray:
    descriptor = os.open(path, REGULAR)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NoImage(FILE_TYPES.get(stat.S_IFMT(status.st_mode), "no regular file"))
        if status.st_size > MOST_BYTES:
            raise NoImage(f"{status.st_size:,} bytes, too many for an image")
        data, done = bytearray(status.st_size), 0
        with memoryview(data) as view:
            while done < len(data) and (count := os.readv(descriptor, [view[done:]])):
                done += count
    finally:
        os.close(descriptor)
    del data[done:]  # of a file that was cut short meanwhile
    return data


def _bytes_in_container(span: Span) -> bytearray:
    if span.size > MOST_BYTES:
        raise NoImage(f"{span.size:,} bytes, too many for an image")
    return span_bytes(span)


def image_format(data: bytes | bytearray) -> str:
    """Return the name of the format of an image's bytes. Raises NoImage, if possible with what the bytes are."""
    for name, beginnings in FORMATS.items():
        if data.startswith(beginnings):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if not data:
        raise NoImage("an empty file")
    head = bytes(data[:256]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for at, beginning, name in FOREIGN:
        if data[at:].startswith(beginning) or head.startswith(beginning):
            raise NoImage(f"it is {name}; read are {READ}")
    raise NoImage(f"its first bytes are of no format that is read: {READ}")


class JpegHeader(NamedTuple):
    """Facts of a JPEG that stand before its pixels."""

    width: int
    height: int
    channels: int
    exif: bytes | None
    frame: int  # where the marker of its frame stands
    scan: int  # where that of its first scan stands, or the file's end


def jpeg_header(data: bytes | bytearray) -> JpegHeader:
    """Return the facts of a JPEG's header, found as libjpeg finds them. Raises NoImage without a frame."""
    at, frame, exif = 2, 0, None
    try:
        while True:
            while data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
                at += 1  # libjpeg skips what stands between two markers
            marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
            if marker == 0xDA:  # the pixels begin
                break
            if marker in PARAMETERLESS:
                at += 2
                continue
            if marker == 0xE1 and exif is None and data[at + 4 : at + 10] == b"Exif\0\0":
                exif = bytes(data[at + 4 : at + 2 + length])
            elif marker in START_OF_FRAME and not frame:
                sides = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6], data[at + 9]
                frame = at
            at += 2 + length
    except IndexError:
        pass
    if not frame:
        raise NoImage("a JPEG without a frame")
    return JpegHeader(*sides, exif, frame, at)
