"""Folders of YAML groups and experiments, ours and the user's, and their options. Imports nothing that takes time."""

import re
from pathlib import Path

from bagoftricks.folders import shipped_folder, yaml_files
from bagoftricks.registry import added_cards
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import families

YAML_GROUPS = {
    "data": "data sets and the preparation of their images",
    "model": "networks",
    "task": "what the network predicts and is scored for",
    "preset": "settings for a whole study",
    "corruptions": "protocols of an evaluation on corrupted images, after training",
}

# a plug-in's need no YAML of their own
CARDS = {"data": "dataset", "model": "network", "task": "task", "corruptions": "protocol"}


def conf_dir() -> Path:
    """Return ``conf/`` inside the installed package, or next to it in a checkout."""
    return shipped_folder("conf")


def options(group: str) -> dict[str, str]:
    """Return the options of a group with a line about each: tricks by family, or YAML files by their first comment."""
    if group in FAMILIES:
        return {name: "" for name, family in families().items() if family == group}
    plugins = {name: card.summary for name, card in added_cards(CARDS[group]).items()} if group in CARDS else {}
    return plugins | {file.stem: _first_comment(file) for file in yaml_files(group)}


def groups() -> list[str]:
    return [*FAMILIES, *YAML_GROUPS]


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [m[1] for line in lines if (m := re.match(r"# (?!@package)(.*)", line))]
    return comments[0] if comments else ""
