"""Folders: paths as users type them, the cache, and YAML files, ours and those that --config-dir adds."""

import os
import re
import sys
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path

from bagoftricks.errors import DataError, UserError, did_you_mean
from bagoftricks.registry import PACKAGE
from bagoftricks.system import user_number
from bagoftricks.yaml_files import OneReadingLoader, read_yaml

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # as s3://bucket/runs
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
LONGEST_NAME = 255  # bytes, of what file systems take

_user: list[Path] = []


def local_path(name: str, value: str | Path) -> Path:
    """Return a path that the user typed for ``name``, with ~ expanded. Raises UserError for what cannot be one."""
    if not str(value):
        raise UserError(f"{name}= is empty: type a path, or leave it out")
    if ADDRESS.match(str(value)):
        raise UserError(f"{name}={value}: is an address, and only local files are read and written: copy or mount it")
    path = Path(os.path.expanduser(value))
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in path.parts) or "\0" in str(path):
        raise UserError(f"{name}={str(path)[:40]}...: is no path: a name in it has more than {LONGEST_NAME} bytes")
    return path


def local_folder(name: str, value: str | Path) -> Path:
    """Return a folder that is there. Raises DataError with the nearest name."""
    folder = local_path(name, value)
    if os.path.isdir(folder):
        return folder
    if os.path.exists(folder):
        packed = ": extract it, and name the folder" if folder.suffix in PACKED else ""
        raise DataError(f"{name}={value}: is a file, not a folder{packed}")
    beside = os.listdir(folder.parent) if os.access(folder.parent, os.R_OK | os.X_OK) else []
    raise DataError(f"{name}={value}: no such folder{did_you_mean(folder.name, beside)}")


def cache_folder() -> Path:
    """Return the folder of what can be made again: below XDG_CACHE_HOME if that is an absolute path, or ~/.cache."""
    given, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    if os.path.isabs(given):
        return Path(given) / "bagoftricks"
    return Path(home) / ".cache" / "bagoftricks" if os.path.isabs(home) else _temporary_cache()


@cache
def _temporary_cache() -> Path:
    """Return a folder of this user's for temporary files, as in a container whose user has no home."""
    folder = Path(tempfile.gettempdir()) / f"bagoftricks-{user_number()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != user_number():
        raise UserError(f"{folder} is another user's: name a folder for the cache with the variable XDG_CACHE_HOME")
    print(f"bagoftricks: no home folder: the cache is {folder} (XDG_CACHE_HOME names another)", file=sys.stderr)
    return folder


@cache
def shipped_folder(name: str) -> Path:
    """Return ``conf/`` or ``experiments/`` inside the installed package, or next to it in a checkout."""
    return next(folder for folder in (PACKAGE / name, PACKAGE.parent / name) if folder.is_dir())


def user_folders() -> tuple[Path, ...]:
    """Return the folders of the user's own YAML files."""
    return tuple(_user)


def add_user_folder(name: str) -> None:
    """Search a folder after ours: its data/, model/, preset/, corruptions/ and experiments/."""
    folder = local_path("--config-dir", name).resolve()
    if not folder.is_dir():
        raise UserError(f"--config-dir {name}: no such folder; it may hold data/, model/, preset/ and experiments/")
    for file in folder.glob("*/*.yaml"):
        if (shipped_folder("conf") / file.relative_to(folder)).is_file():
            raise UserError(f"{file}: bagoftricks has an option of this name, which would hide yours; rename the file")
    for group in (path.name for path in shipped_folder("conf").iterdir() if path.is_dir()):
        for file in sorted((folder / group).rglob("*.yaml")):
            if not isinstance(read_yaml(file, loader=OneReadingLoader), dict | None):  # Hydra checks nothing itself
                raise UserError(f"{file}: must be a mapping, as epochs: 30")
    if folder not in _user:
        _user.append(folder)


def forget_user_folders() -> None:
    """Forget the user's folders, as at the start of a command."""
    _user.clear()


def experiment_files() -> dict[str, Path]:
    """Return every experiment, ours and those of the user's folders, by the name that ``experiment=`` takes."""
    roots = [shipped_folder("experiments"), *(folder / "experiments" for folder in user_folders())]
    found = {p.relative_to(root).with_suffix("").as_posix(): p for root in roots for p in root.rglob("*.yaml")}
    return dict(sorted(found.items()))


def yaml_files(group: str) -> list[Path]:
    """Return the YAML files of a group (data, model, preset, corruptions), those of the user's folders last."""
    folders = [shipped_folder("conf"), *user_folders()]
    return [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]


def package_stamp() -> str:
    """Return a digest of the path, the size and the time of change of each file of this package: of its code."""
    digest = blake2b(digest_size=16)
    for folder in (Path(__file__).parent, shipped_folder("conf")):
        for base, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                status = os.stat(path := os.path.join(base, name))
                digest.update(os.fsencode(f"{path} {status.st_size} {status.st_mtime_ns}\n"))
    return digest.hexdigest()
