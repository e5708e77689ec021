"""Where the YAML groups are and what they hold. Imports nothing that takes time."""

import re
from functools import cache
from pathlib import Path

from bagoftricks.tricks import FAMILIES, FAMILY_OF

YAML_GROUPS = {
    "data": "data sets and the preparation of their images",
    "model": "networks",
    "preset": "settings for a whole study",
    "corruptions": "protocols of an evaluation on corrupted images, after training",
}


@cache
def conf_dir() -> Path:
    """``conf/`` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


@cache
def options(group: str) -> dict[str, str]:
    """The options of a group with a line about each: tricks by family, or YAML files by their first comment."""
    if group in FAMILIES:
        return {name: "" for name, family in FAMILY_OF.items() if family == group}
    files = sorted((conf_dir() / group).glob("*.yaml"))
    return {file.stem: _first_comment(file) for file in files}


def groups() -> list[str]:
    return [*FAMILIES, *YAML_GROUPS]


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [m[1] for line in lines if (m := re.match(r"# (?!@package)(.*)", line))]
    return comments[0] if comments else ""
