"""Folders in zip and tar archives, listed by the rules of folders on a disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bagoftricks.data.archives import Archive, read_archive
from bagoftricks.data.containers import Spans
from bagoftricks.data.listing import FILE, FOLDER, Entry, FolderId, Lister, count_names
from bagoftricks.errors import DataError, did_you_mean, printable
from bagoftricks.folders import local_folder, local_path


class ArchiveFolder:
    """A folder in an archive, as pathlib has the others."""

    def __init__(self, archive: Archive, tree: Mapping[str, Mapping[str, int | None]] | None = None, inside: str = ""):
        self.archive, self.inside = archive, inside
        self.tree = folder_tree(archive.names) if tree is None else tree

    def __truediv__(self, name: str) -> "ArchiveFolder":
        return ArchiveFolder(self.archive, self.tree, f"{self.inside}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"{self.archive.container.path}/{self.inside}".rstrip("/")

    def resolve(self) -> Path:
        """Return the place without links on the way to the archive."""
        return Path(self.archive.container.path).resolve() / self.inside

    @property
    def entries(self) -> Mapping[str, int | None]:
        """The names in this folder: row of a member, or None for a folder."""
        return self.tree.get(self.inside, {})


def folder_tree(names: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """Return each folder's names with the row of the member, None for a folder; a folder hides a file of its name."""
    tree: dict[str, dict[str, int | None]] = {"": {}}
    for row, path in enumerate(names):
        folder, _, name = path.rpartition("/")
        entries = tree.setdefault(folder, {})
        if name:  # else the folder itself
            entries[name] = row
    for folder in list(tree):
        while folder:
            folder, _, name = folder.rpartition("/")
            if tree.setdefault(folder, {}).get(name, 0) is None:
                break
            tree[folder][name] = None
    return tree


class ArchiveLister(Lister):
    """Reader of the folders of one split in an archive."""

    def __init__(self, root: ArchiveFolder) -> None:
        self.place = root
        super().__init__(str(root))

    def below(self, name: str) -> "ArchiveLister":
        return ArchiveLister(self.place / name)

    def spans(self, paths: Sequence[str]) -> Spans:
        rows = [self._folder(path.rpartition("/")[0])[path.rpartition("/")[2]] for path in paths]
        return self.place.archive.spans(np.array(rows, np.int64))

    def _folder(self, folder: str) -> Mapping[str, int | None]:
        return self.place.tree.get(folder[len(self.place.archive.container.path) :].lstrip("/"), {})

    def _entries(self, folder: str) -> list[Entry]:
        return [(name, FOLDER if row is None else FILE, False) for name, row in self._folder(folder).items()]

    def _id(self, folder: str) -> FolderId:
        return folder

    def _above(self) -> frozenset[FolderId]:
        return frozenset()


def lister_of(root: Path | ArchiveFolder) -> Lister:
    """Return the reader of a folder."""
    return ArchiveLister(root) if isinstance(root, ArchiveFolder) else Lister(root)


def folder_or_archive(name: str, value: str) -> Path | ArchiveFolder:
    """Return a folder that the user typed for ``name``: on a disk, or photos.zip or photos.zip/train. Raises DataError.

    An archive that has one folder of folders alone stands for that folder.
    """
    path = local_path(name, value).absolute()
    file = next((each for each in (path, *path.parents) if each.is_file()), None)
    if file is None:
        return local_folder(name, value).absolute()
    archive = read_archive(str(file))
    found, parts = ArchiveFolder(archive), path.relative_to(file).parts
    for part in parts:
        if found.entries.get(part, 0) is not None:
            near = did_you_mean(part, [name for name, row in found.entries.items() if row is None])
            raise DataError(f"{name}={printable(value)}: {printable(found)} has no folder '{printable(part)}'{near}")
        found /= part
    return found if parts else _unwrapped(found)


def opened_archive(file: Path) -> ArchiveFolder:
    """Return the folder that an archive stands for."""
    return _unwrapped(ArchiveFolder(read_archive(str(file))))


def _unwrapped(found: ArchiveFolder) -> ArchiveFolder:
    while len(names := ArchiveLister(found).classes()) == 1 and ArchiveLister(found / names[0]).classes():
        found /= names[0]
    return found


def archive_warnings(root: Path | ArchiveFolder) -> list[str]:
    """Return a line about the members of an archive that are left out, if there are any."""
    if not isinstance(root, ArchiveFolder):
        return []
    archive, name = root.archive, printable(root.archive.container.path)
    lines = [f"{name}: left out {count_names(archive.left_out)}"] if archive.left_out else []
    if archive.repeated:
        lines.append(f"{name}: {archive.repeated:,} names occur twice: the last counts, as when they are unpacked")
    return lines
