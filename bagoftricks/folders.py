"""Folders of YAML files: ours, inside the package or next to it, and those that --config-dir adds."""

from functools import cache
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.registry import PACKAGE

_user: list[Path] = []


@cache
def shipped_folder(name: str) -> Path:
    """Return ``conf/`` or ``experiments/`` inside the installed package, or next to it in a checkout."""
    return next(folder for folder in (PACKAGE / name, PACKAGE.parent / name) if folder.is_dir())


def user_folders() -> tuple[Path, ...]:
    """Return the folders of the user's own YAML files."""
    return tuple(_user)


def add_user_folder(name: str) -> None:
    """Search a folder after ours: its data/, model/, preset/, corruptions/ and experiments/."""
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"--config-dir {name}: no such folder; it may hold data/, model/, preset/ and experiments/")
    for file in folder.glob("*/*.yaml"):
        if (shipped_folder("conf") / file.relative_to(folder)).is_file():
            raise UserError(f"{file}: bagoftricks has an option of this name, which would hide yours; rename the file")
    if folder not in _user:
        _user.append(folder)


def forget_user_folders() -> None:
    """Forget the user's folders, as at the start of a command."""
    _user.clear()


def yaml_files(group: str) -> list[Path]:
    """Return the YAML files of a group (data, model, preset, corruptions), those of the user's folders last."""
    folders = [shipped_folder("conf"), *user_folders()]
    return [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]
