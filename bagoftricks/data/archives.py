"""Zip and tar archives: where their members lie, read once from their headers and remembered.

Nothing is unpacked, so a member's name is never a path on this machine. What is hostile or damaged is refused with its
name: an archive that is cut short, members that overlap or lie elsewhere, encrypted ones.
"""

import json
import os
import shlex
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bagoftricks.data.containers import NO_CHECKSUM, Container, Spans, open_container
from bagoftricks.data.digests import replace_file
from bagoftricks.data.listing import SPECIAL
from bagoftricks.errors import DataError, printable
from bagoftricks.folders import cache_folder
from bagoftricks.system import read_at

INDEX_FORMAT = 1  # raise it when an older version could misread the remembered indices
WHOLLY_PACKED = {  # compressed as a whole: first bytes -> what makes a plain tar archive of it
    b"\x1f\x8b": "gzip -dk",
    b"BZh": "bzip2 -dk",
    b"\xfd7zXZ\0": "xz -dk",
    b"\x28\xb5\x2f\xfd": "zstd -dk",
}
ZIP_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip archive, and of an empty one
OTHER_METHODS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 99: "AES encryption"}
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, lengths of its name and its extra field
DAMAGED_INDEX = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)
OUTSIDE, LINKS = "with paths outside of the archive", "links"
LONGEST_PATH = 4096  # bytes, of what unpacking could make


@dataclass(frozen=True)
class Archive:
    """Index of an archive: its regular members, by the names that unpacking would give them.

    Folders are members without bytes whose names end in a slash.
    """

    container: Container
    names: list[str]
    table: npt.NDArray[np.int64]  # (N, 6) as in Spans
    left_out: Mapping[str, int]  # OUTSIDE, LINKS, SPECIAL -> count
    repeated: int  # members whose name comes again later: the last one counts, as when all are unpacked

    def spans(self, rows: npt.NDArray[np.int64]) -> Spans:
        return Spans((self.container,), self.table[rows])


@dataclass
class Found:
    """Members that were found so far: name -> start, stored bytes, size, deflated, checksum."""

    members: dict[str, tuple[int, int, int, bool, int]]
    left_out: Counter[str]
    repeated: int = 0

    def add(self, raw: str, *place: int) -> None:
        """Count a regular member."""
        if (name := inside_name(raw)) is None:
            self.left_out[OUTSIDE] += 1
            return
        self.repeated += name in self.members
        start, stored, size, deflated, checksum = place
        self.members[name] = start, stored, size, bool(deflated), checksum

    def add_folder(self, raw: str) -> None:
        """Remember a folder, which may be empty."""
        if (name := inside_name(raw)) is not None:
            self.members.setdefault(f"{name}/", (0, 0, 0, False, NO_CHECKSUM))


def inside_name(raw: str) -> str | None:
    """Return a member's name as a path below the archive, None for one that leads out of it or is none."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    outside = not parts or raw.startswith("/") or ".." in parts or "\0" in raw or len(raw) > LONGEST_PATH
    return None if outside else "/".join(parts)


def read_archive(path: str) -> Archive:
    """Return the index of a zip or tar archive, from the cache where it is there. Raises DataError."""
    try:
        container = open_container(path)
        place = cache_folder() / "archives" / f"{blake2b(os.fsencode(path), digest_size=8).hexdigest()}.safetensors"
        with suppress(*DAMAGED_INDEX):
            return _read_index(place, container)
        with open(path, "rb") as file:
            beginning = file.read(512)
        _refuse_packed(path, beginning)
        found = Found({}, Counter())
        (_read_zip if beginning.startswith(ZIP_BEGINNINGS) else _read_tar)(path, found)
        made = _archive(container, found)
    except DataError:
        raise
    except Exception as error:  # the two modules raise a dozen kinds at damaged archives, from struct.error on
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{printable(path)} cannot be read as a zip or tar archive ({printable(reason)}): copy it again, or "
            "extract it and name the folder"
        ) from error
    if container.settled:
        with suppress(OSError):  # a full or read-only disk is no reason to stop
            _write_index(place, made)
    return made


def _refuse_packed(path: str, beginning: bytes) -> None:
    for magic, command in WHOLLY_PACKED.items():
        if beginning.startswith(magic):
            raise DataError(
                f"{printable(path)} is compressed as a whole, and an image in it is found only by reading all before "
                f"it: type {command} {shlex.quote(printable(path))} first, and name the tar archive that it makes"
            )


def _archive(container: Container, found: Found) -> Archive:
    """Return the index of what was found. Raises DataError for places that no honest archive has."""
    name, size = printable(container.path), os.stat(container.path).st_size
    table = np.array([(0, *place) for place in found.members.values()], np.int64).reshape(-1, 6)
    start, stored = table[:, 1], table[:, 2]
    if (np.minimum(start, stored) < 0).any() or (start + stored > size).any():
        raise DataError(f"{name} is cut short, or damaged: members lie outside of its {size:,} bytes; copy it again")
    distinct = np.unique(table[:, 1:3], axis=0)  # two hard links of a tar archive are one place
    if (distinct[1:, 0] < distinct[:-1].sum(1)).any():
        raise DataError(f"{name}: members overlap, as in a zip bomb: extract it with a tool that you trust, if you do")
    return Archive(container, list(found.members), table, dict(found.left_out), found.repeated)


# --- zip ---


def _read_zip(path: str, found: Found) -> None:
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
            name = _zip_name(info)
            if name.endswith("/") or kind == stat.S_IFDIR:
                found.add_folder(name)
                continue
            if kind not in (0, stat.S_IFREG):
                found.left_out[LINKS if kind == stat.S_IFLNK else SPECIAL] += 1
                continue
            _check_member(f"{path}/{name}", info)
            start = _start_of(info, read_at(file.fileno(), LOCAL_HEADER.size, info.header_offset))
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            found.add(name, start, info.compress_size, info.file_size, deflated, info.CRC)


def _check_member(name: str, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise DataError(f"{printable(name)} is encrypted: extract the archive, and name the folder")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise DataError(
            f"{printable(name)} is compressed with {method}, and only stored and deflated members are read: extract "
            "the archive and name the folder, or zip it again with zip -0 -r"
        )


def _start_of(info: zipfile.ZipInfo, header: bytes) -> int:
    signature, name, extra = LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise ValueError("a member has no header")
    return info.header_offset + LOCAL_HEADER.size + int(name) + int(extra)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name as an unpacker here would write it."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:  # not declared as UTF-8
        raw = name.encode("cp437")
        with suppress(UnicodeDecodeError):
            name = raw.decode("utf-8", "surrogateescape" if info.create_system == 3 else "strict")
    return name if info.create_system == 3 else name.replace("\\", "/")


# --- tar ---


def _read_tar(path: str, found: Found) -> None:
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # of millions, none is needed again
            if info.isreg() and not info.issparse():
                found.add(info.name, info.offset_data, info.size, info.size, False, NO_CHECKSUM)
            elif info.islnk():
                _add_hard_link(info, found)
            elif info.isdir():
                found.add_folder(info.name)
            else:
                found.left_out[LINKS if info.issym() else SPECIAL] += 1
        with open(path, "rb") as file:
            end = read_at(file.fileno(), tarfile.BLOCKSIZE, archive.offset)
    if len(end) < tarfile.BLOCKSIZE or any(end):  # the module takes a damaged header for the end
        raise ValueError(f"cut short or damaged at byte {archive.offset:,}")


def _add_hard_link(info: tarfile.TarInfo, found: Found) -> None:
    target = found.members.get(inside_name(info.linkname) or "")
    if target is None:
        found.left_out[LINKS] += 1
    else:
        found.add(info.name, *target)


# --- what is remembered: names, the table, and the state of the archive ---


def _read_index(place: Path, container: Container) -> Archive:
    if not place.is_file():  # a pipe would be waited for
        raise ValueError("no file")
    with safe_open(place, "pt") as opened:
        names, table, about = opened.get_tensor("names").numpy(), opened.get_tensor("table").numpy(), opened.metadata()
    if about["facts"] != _facts(container) or about["checksum"] != _checksum(names, table, about["rest"]):
        raise ValueError("of another archive, or damaged")
    rest = json.loads(about["rest"])
    texts = os.fsdecode(names.tobytes()).split("\0")[:-1]
    return Archive(container, texts, table, rest["left_out"], rest["repeated"])


def _write_index(place: Path, made: Archive) -> None:
    names = np.frombuffer(os.fsencode("".join(f"{name}\0" for name in made.names)), np.uint8).copy()
    rest = json.dumps({"left_out": made.left_out, "repeated": made.repeated})
    about = {"facts": _facts(made.container), "checksum": _checksum(names, made.table, rest), "rest": rest}
    tensors = {"names": torch.from_numpy(names), "table": torch.from_numpy(made.table)}
    replace_file(place, save(tensors, about))


def _facts(container: Container) -> str:
    return f"{INDEX_FORMAT} {container.facts.hex()}"


def _checksum(names: npt.NDArray[np.uint8], table: npt.NDArray[np.int64], rest: str) -> str:
    return str(zlib.crc32(rest.encode(), zlib.crc32(table.tobytes(), zlib.crc32(names.tobytes()))))
