"""YAML files as plain values, with limits that no file of a person comes near. Runs no code from a file."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from bagoftricks.errors import UserError

YAML_BYTES = 2**17
YAML_VALUES = 50_000  # with what aliases stand for, each time


def read_yaml(path: Path, name: str = "", loader: "type[PlainLoader] | None" = None) -> Any:
    """Return the values in a file, which errors call ``name`` or by its path. Raises UserError."""
    name = name or str(path)
    try:
        if not path.is_file():
            raise UserError(f"{name}: is no file")
        if (size := path.stat().st_size) > YAML_BYTES:
            raise UserError(f"{name}: has {size:,} bytes; at most {YAML_BYTES:,} are read")
        return parse_yaml(path.read_text(encoding="utf-8"), name, loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error})") from error


def parse_yaml(text: str, where: str, kind: "type[PlainLoader] | None" = None) -> Any:
    """Return the values in a text; ``where`` is for the error."""
    try:
        loader = (kind or PlainLoader)(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > YAML_VALUES:
            raise UserError(f"{where}: has more than {YAML_VALUES:,} values, with what its aliases stand for")
        return loader.construct_document(node)
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply, or contains itself") from error
    except Exception as error:  # a value that is not of its tag can fail in any way
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"{where}{line}: is not YAML: {why}") from error


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values below a node, those of its aliases each time; ``known`` holds what was counted."""
    if id(node) not in known:
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inside for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


class PlainLoader(yaml.SafeLoader):
    """Loader of the values that JSON has: a date, ``yes`` and ``010`` are text, and no key comes twice."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own way)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' is twice", key.start_mark)
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", list("-+0123456789.")),
    ("merge", "<<", ["<"]),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)


class OneReadingLoader(PlainLoader):
    """Loader for files that Hydra reads too: refuses what is text here and a number there, as ``010`` or ``1:30``."""

    def construct_text(self, node: yaml.ScalarNode) -> Any:
        tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if not node.style and tag.rpartition(":")[2] in ("int", "float", "value") and re.search("[0-9=]", node.value):
            why = f"{node.value} has two readings, as text and as a number: write plain digits, or put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)
        return node.value


OneReadingLoader.add_constructor("tag:yaml.org,2002:str", OneReadingLoader.construct_text)
