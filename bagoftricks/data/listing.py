"""Listing of folders of classes: the images in them, and all that was left out.

Links to files and to folders are followed, and two links to one folder count twice, as in torchvision. A link back to a
folder above it would have no end: it is left out, as is a link that leads nowhere."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.data.containers import Spans
from bagoftricks.data.decode import SUFFIXES
from bagoftricks.errors import DataError, printable

# Files and folders that operating systems, network drives and tools leave in folders of images, in lower case. Names
# that begin with a dot are ignored too: .DS_Store, ._0.jpg, .ipynb_checkpoints, .Trash-1000, .thumbnails ...
JUNK = frozenset(
    {
        *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
        *(
            "lost+found",
            "@eadir",
            "#recycle",
            "#snapshot",
            "@recycle",
            "@recently-snapshot",
        ),  # disks and network drives
        "__pycache__",
    }
)
FILE, FOLDER, BROKEN_LINK, SPECIAL = "file", "folder", "broken link", "special file"
FolderId = tuple[int, int] | str  # device and inode, or the name in an archive
Entry = tuple[
    str, str, bool
]  # name in a folder; FILE, FOLDER, BROKEN_LINK or SPECIAL, of what a link leads to; a link?


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Facts about the folders of one split that its images do not show. Names are relative to ``root``, and raw."""

    root: str
    ignored: Mapping[str, int] = field(default_factory=dict)
    """files that are no images: suffix in lower case, "" without one -> count"""
    stray: int = 0
    """images next to the folders of classes, in none of them"""
    junk: Mapping[str, int] = field(default_factory=dict)
    """files and folders of operating systems and tools: name, or "._*" and ".*" -> count"""
    links: int = 0
    """links to folders that were followed"""
    dropped_links: tuple[str, ...] = ()
    """links that lead nowhere, or back to a folder above them"""

    def __str__(self) -> str:
        """Return a line about what was left out, an empty text if nothing was."""
        parts = []
        if self.ignored:
            parts.append(f"{_files(sum(self.ignored.values()))} ({count_names(self.ignored, 'no suffix')})")
        if self.stray:
            parts.append(f"{_files(self.stray, 'image')} outside of the classes' folders")
        if self.junk:
            parts.append(count_names(self.junk))
        if count := len(self.dropped_links):
            more = ", ..." if count > 1 else ""
            parts.append(f"{_files(count, 'link')} to nowhere or in a circle ({self.dropped_links[0]}{more})")
        return printable(f"{self.root}: ignored {', '.join(parts)}") if parts else ""


def first_names(names: Sequence[str], shown: int = 5) -> str:
    """Return the first of some names, as an error or a warning lists them."""
    return ", ".join(f"'{printable(name)}'" for name in names[:shown]) + (", ..." if len(names) > shown else "")


def count_names(counts: Mapping[str, int], unnamed: str = "") -> str:
    """Return counts with their names, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name or unnamed}" for name, count in ordered)


def _files(count: int, what: str = "file") -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}"


class Lister:
    """Reader of the folders of one split that counts what it leaves out."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self.above = self._above()
        self.ignored, self.junk = Counter[str](), Counter[str]()
        self.links, self.stray, self.dropped = 0, 0, list[str]()
        self.found: list[str] = []
        self.classes_of: dict[FolderId, list[str]] = {}

    def classes(self) -> list[str]:
        """Return the names of the folders of classes, sorted."""
        folders, images = self._read(self.root, self.above)
        self.stray, self.found = len(images), sorted(folders)
        return self.found

    def images(self, name: str = "") -> list[str]:
        """Return the paths of the images below a class's folder, or the root, sorted by folder, then by name."""
        top = os.path.join(self.root, name) if name else self.root
        pending, found = [(top, self.above)], []
        while pending:
            folder, above = pending.pop()
            here = self._id(folder)
            if folder == top:
                self.classes_of.setdefault(here, []).append(name)
            above |= {here}
            folders, images = self._read(folder, above)
            found.append((folder, sorted(images)))
            pending += [(f"{folder}{os.sep}{below}", above) for below in folders]
        return [f"{folder}{os.sep}{image}" for folder, images in sorted(found) for image in images]

    def below(self, name: str) -> "Lister":
        """Return a reader of a folder in this one."""
        return Lister(os.path.join(self.root, name))

    def holds_images(self, name: str) -> bool:
        """Return True if there are images below a folder."""
        return bool(self.images(name))

    def spans(self, paths: Sequence[str]) -> Spans | None:
        """Return where the images of an archive lie, None for files."""
        return None

    def same_folders(self) -> list[list[str]]:
        """Return the classes whose folders are one, by links."""
        return [names for names in self.classes_of.values() if len(names) > 1]

    def listing(self) -> Listing:
        """Return the facts about what was read so far."""
        return Listing(
            root=self.root,
            ignored=dict(self.ignored),
            stray=self.stray,
            junk=dict(self.junk),
            links=self.links,
            dropped_links=tuple(self.dropped),
        )

    def _read(self, folder: str, above: frozenset[FolderId]) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the images in a folder."""
        folders, images = [], []
        for name, kind, link in self._entries(folder):
            if pattern := junk_pattern(name):
                self.junk[pattern] += 1
            elif kind == FILE and (suffix := os.path.splitext(name)[1].lower()) in SUFFIXES:
                images.append(name)
            elif kind == BROKEN_LINK or (kind == FOLDER and link and self._id(f"{folder}{os.sep}{name}") in above):
                self.dropped.append(os.path.relpath(f"{folder}{os.sep}{name}", self.root))
            elif kind == FOLDER:
                self.links += link
                folders.append(name)
            else:
                self.ignored[suffix if kind == FILE else SPECIAL] += 1
        return folders, images

    def _entries(self, folder: str) -> list[Entry]:
        with _listing(folder), os.scandir(folder) as found:
            return [
                (entry.name, FILE, False)  # most are: no more is asked about them
                if entry.is_file(follow_symlinks=False)
                else (entry.name, _kind(entry), entry.is_symlink())
                for entry in found
            ]

    def _id(self, folder: str) -> FolderId:
        with _listing(folder):
            return folder_id(folder)

    def _above(self) -> frozenset[FolderId]:
        """Return the root, and the folders above it."""
        real = Path(os.path.realpath(self.root))
        return frozenset(folder_id(folder) for folder in (real, *real.parents))


def junk_pattern(name: str) -> str:
    """Return the name or pattern under which a file or folder is junk, an empty text if it is not."""
    if name[0] == ".":
        return "._*" if name.startswith("._") else name if name == ".DS_Store" else ".*"
    return name if name.lower() in JUNK else ""


def folder_id(path: str | Path) -> FolderId:
    """Return what tells a folder from all others, whatever leads to it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


@contextmanager
def _listing(folder: str) -> Iterator[None]:
    """Raise DataError for a folder that cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{printable(folder)} cannot be listed ({error.strerror}): make it readable, or move it away"
        ) from error


def _kind(entry: os.DirEntry[str]) -> str:
    """Return the kind of an entry, or of what it links to."""
    try:
        if entry.is_file():
            return FILE
        if entry.is_dir():
            return FOLDER
    except OSError:  # a link into a folder that cannot be read, or to itself
        return BROKEN_LINK
    return BROKEN_LINK if entry.is_symlink() and not os.path.exists(entry.path) else SPECIAL
