"""Arguments of every command that add something of the user's: ``plugins=`` and ``--config-dir``."""

from collections.abc import Sequence
from pathlib import Path

from bagoftricks.cli.arguments import refuse_repeated
from bagoftricks.cli.text import quoted
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import add_user_folder, forget_user_folders, user_folders
from bagoftricks.plugins import forget_plugins, installed_plugins, load_plugins, loaded_plugins, split_list

FILE = "bagoftricks.yaml"  # in the working folder: config_dir and plugins
CONFIG_DIR_FLAGS = ("--config-dir", "-cd")


def extend(arguments: Sequence[str]) -> list[str]:
    """Load what these arguments, the environment and bagoftricks.yaml add; return the other arguments."""
    refuse_repeated(arguments)
    forget_plugins()
    forget_user_folders()
    in_file = _from_file(Path(FILE))
    folders, plugins, rest = split_extensions(arguments)
    for folder in (*in_file[0], *folders):
        add_user_folder(folder)
    load_plugins([*installed_plugins(), *in_file[1], *plugins])
    return rest


def split_extensions(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the folders and the plug-ins that arguments name, and the other arguments."""
    folders: list[str] = []
    plugins: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        key, equals, value = argument.partition("=")
        if key in CONFIG_DIR_FLAGS:
            if not equals and not left:
                raise UserError("--config-dir needs a folder: type --config-dir DIR")
            folders.append(value if equals else left.pop(0))
        elif key.lstrip("+") == "plugins" and equals:
            plugins += split_list(value)
        else:
            rest.append(argument)
    return folders, plugins, rest


def hydra_arguments() -> list[str]:
    """Return what Hydra needs for the same: an override for each."""
    found = []
    if plugins := loaded_plugins():
        found.append(f"plugins=[{','.join(map(quoted, plugins))}]")
    if folders := user_folders():
        found.append(f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in folders)}]")
    return found


def without_extensions(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a job without ours."""
    return [override for override in overrides if not override.startswith(("plugins=", *CONFIG_DIR_FLAGS))]


def _from_file(path: Path) -> tuple[list[str], list[str]]:
    """Return the folder and the plug-ins that bagoftricks.yaml names."""
    if not path.is_file():
        return [], []
    from bagoftricks.yaml_files import read_yaml  # takes time

    found = read_yaml(path) or {}
    known = ("config_dir", "plugins")
    for key in found if isinstance(found, dict) else [found]:
        if key not in known:
            raise UserError(f"{path}: there is no key '{key}'{did_you_mean(str(key), known)} ({', '.join(known)})")
    plugins = found.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise UserError(f"{path}: plugins must be a list, as [my_tricks.py], not {plugins!r}")
    folder = found.get("config_dir")
    if folder is not None and not isinstance(folder, str):
        raise UserError(f"{path}: config_dir must be a folder, not {folder!r}")
    return [folder] if folder else [], plugins
